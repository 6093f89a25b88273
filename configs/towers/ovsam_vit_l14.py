# OVSAM on CLIP ViT-L/14 and LVIS v1. Its adapter: sam2clip_vit_l14.py.
_base_ = ['../ovsam_lvis.py']
text_encoder = dict(model='ViT-L-14-quickgelu', checkpoint='openai')
stages = [1024, 1024, 1024, 1024]
backbone = dict(
    model='ViT-L-14-quickgelu', init_cfg=dict(checkpoint='open_clip://ViT-L-14-quickgelu:openai')
)
neck = dict(in_channels=stages)
model = dict(
    backbone=backbone,
    neck=dict(
        init_cfg=dict(checkpoint='work_dirs/sam2clip_vit_l14/epoch_24.pth', prefix='neck'), **neck
    ),
    region_neck=dict(in_channels=stages),
    head=dict(embed_dim=768),
    classifier=dict(text_encoder=text_encoder),
)

# OVSAM on CLIP ViT-L/14 and LVIS v1. Its adapter: sam2clip_vit_l14.py.
# CLIP's weights, in open_clip's names: 'ViT-L-14-quickgelu', 'openai'.
_base_ = ['../ovsam_lvis.py']
stages = [1024, 1024, 1024, 1024]
backbone = dict(
    model='ViT-L-14-quickgelu', init_cfg=dict(checkpoint='checkpoints/clip_vit_l14.safetensors')
)
neck = dict(in_channels=stages)
model = dict(
    backbone=backbone,
    neck=dict(
        init_cfg=dict(checkpoint='work_dirs/sam2clip_vit_l14/epoch_24.pth', prefix='neck'), **neck
    ),
    region_neck=dict(in_channels=stages),
    head=dict(embed_dim=768),
    classifier=dict(classifier='checkpoints/vocabulary_lvis_vit_l14.safetensors'),
)

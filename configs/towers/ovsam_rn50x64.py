# OVSAM on CLIP RN50x64 and LVIS v1. Its adapter: sam2clip_rn50x64.py.
_base_ = ['../ovsam_lvis.py']
text_encoder = dict(model='RN50x64-quickgelu', checkpoint='openai')
stages = [512, 1024, 2048, 4096]
backbone = dict(model='RN50x64', init_cfg=dict(checkpoint='open_clip://RN50x64:openai'))
neck = dict(in_channels=stages)
model = dict(
    backbone=backbone,
    neck=dict(
        init_cfg=dict(checkpoint='work_dirs/sam2clip_rn50x64/epoch_24.pth', prefix='neck'), **neck
    ),
    region_neck=dict(in_channels=stages),
    head=dict(embed_dim=1024),
    classifier=dict(text_encoder=text_encoder),
)

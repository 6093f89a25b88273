# Stage one: the adapter on CLIP ViT-L/14 learns SAM ViT-H's embedding.
_base_ = ['../sam2clip_rn50x16.py']
stages = [1024, 1024, 1024, 1024]
backbone = dict(
    model='ViT-L-14-quickgelu', init_cfg=dict(checkpoint='open_clip://ViT-L-14-quickgelu:openai')
)
neck = dict(in_channels=stages)
model = dict(backbone=backbone, neck=neck)

# Stage one: the adapter on CLIP RN50 learns SAM ViT-H's embedding.
_base_ = ['../sam2clip_rn50x16.py']
stages = [256, 512, 1024, 2048]
backbone = dict(model='RN50', init_cfg=dict(checkpoint='open_clip://RN50:openai'))
neck = dict(in_channels=stages)
model = dict(backbone=backbone, neck=neck)

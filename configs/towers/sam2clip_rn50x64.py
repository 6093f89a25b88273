# Stage one: the adapter on CLIP RN50x64 learns SAM ViT-H's embedding.
_base_ = ['../sam2clip_rn50x16.py']
stages = [512, 1024, 2048, 4096]
backbone = dict(model='RN50x64', init_cfg=dict(checkpoint='open_clip://RN50x64:openai'))
neck = dict(in_channels=stages)
model = dict(backbone=backbone, neck=neck)

# Stage one: the adapter on CLIP ViT-L/14 learns SAM ViT-H's embedding.
# CLIP's weights, in open_clip's names: 'ViT-L-14-quickgelu', 'openai'.
_base_ = ['../sam2clip_rn50x16.py']
stages = [1024, 1024, 1024, 1024]
backbone = dict(
    model='ViT-L-14-quickgelu', init_cfg=dict(checkpoint='checkpoints/clip_vit_l14.safetensors')
)
neck = dict(in_channels=stages)
model = dict(backbone=backbone, neck=neck)

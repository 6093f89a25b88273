# Stage one: the adapter on CLIP ConvNeXt-Large learns SAM ViT-H's embedding.
# CLIP's weights, in open_clip's names: 'convnext_large_d_320', 'laion2b_s29b_b131k_ft_soup'.
_base_ = ['../sam2clip_rn50x16.py']
stages = [192, 384, 768, 1536]
backbone = dict(
    model='convnext_large_d_320',
    init_cfg=dict(checkpoint='checkpoints/clip_convnext_large.safetensors'),
)
neck = dict(in_channels=stages)
model = dict(backbone=backbone, neck=neck)

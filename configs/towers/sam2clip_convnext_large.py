# Stage one: the adapter on CLIP ConvNeXt-Large learns SAM ViT-H's embedding.
_base_ = ['../sam2clip_rn50x16.py']
stages = [192, 384, 768, 1536]
backbone = dict(
    model='convnext_large_d_320',
    init_cfg=dict(checkpoint='open_clip://convnext_large_d_320:laion2b_s29b_b131k_ft_soup'),
)
neck = dict(in_channels=stages)
model = dict(backbone=backbone, neck=neck)

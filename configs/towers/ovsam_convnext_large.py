# OVSAM on CLIP ConvNeXt-Large and LVIS v1. Its adapter: sam2clip_convnext_large.py.
_base_ = ['../ovsam_lvis.py']
text_encoder = dict(model='convnext_large_d_320', checkpoint='laion2b_s29b_b131k_ft_soup')
stages = [192, 384, 768, 1536]
backbone = dict(
    model='convnext_large_d_320',
    init_cfg=dict(checkpoint='open_clip://convnext_large_d_320:laion2b_s29b_b131k_ft_soup'),
)
neck = dict(in_channels=stages)
model = dict(
    backbone=backbone,
    neck=dict(
        init_cfg=dict(checkpoint='work_dirs/sam2clip_convnext_large/epoch_24.pth', prefix='neck'),
        **neck,
    ),
    region_neck=dict(in_channels=stages),
    head=dict(embed_dim=768),
    classifier=dict(text_encoder=text_encoder),
)

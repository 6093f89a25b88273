# A small OVSAM for photographs: an ImageNet classifier is the tower that knows names.
text_encoder = dict(
    model='photo',
    checkpoint='mmovsam://photo_text.safetensors',
    names='mmovsam://photo_names.safetensors',
)
vocabularies = {  # that the page offers, the first one is that of `classifier`
    "COCO's 80": 'mmovsam://photo_coco.safetensors',
    "ImageNet's 1,000": 'mmovsam://photo_imagenet1k.safetensors',
}
everything = dict(quality_thr=0.6, stability_thr=0.5)  # of segment_everything
image_size = 512
channels = 256
embed_dim = 256
stages = [16, 24, 48, 120, 352]  # EfficientNet-Lite2 at strides 2 to 32
backbone = dict(type='TimmBackbone', model='tf_efficientnet_lite2', embed_dim=embed_dim)
neck = dict(
    type='SAM2CLIPNeck',
    in_channels=stages[1:],
    embed_dim=256,
    num_blocks=3,
    num_heads=8,
    mlp_ratio=3.0,
    window_size=16,
    out_channels=channels,
    image_size=image_size,
)
high_res_neck = dict(type='HighResolutionNeck', in_channels=stages, out_channels=[16, 32, 64])
mask_decoder = dict(
    channels=channels, num_masks=4, with_iou=True, mlp_channels=1024, high_resolution=True
)
region_channels = 96
model = dict(
    type='OVSAM',
    data_preprocessor=dict(
        type='OVSAMDataPreprocessor', image_size=image_size, mean=[127.5] * 3, std=[127.5] * 3
    ),
    backbone=backbone,
    neck=neck,
    high_res_neck=high_res_neck,
    region_neck=dict(type='FPN', in_channels=stages[2:], out_channels=region_channels, num_outs=3),
    region_namer=dict(type='RegionNamer', embed_dim=embed_dim),
    refiner=dict(type='WindowRefiner', region_channels=region_channels, stage4_channels=stages[-1]),
    prompt_encoder=dict(
        type='SAMPromptEncoder', embed_dim=channels, image_size=image_size, train_masks=True
    ),
    head=dict(
        type='CLIP2SAMHead',
        embed_dim=embed_dim,
        use_label_token=True,
        region_channels=region_channels,
        region_hidden=512,
        mask_decoder=mask_decoder,
        roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2),
            out_channels=region_channels,
            featmap_strides=[8, 16, 32],
        ),
    ),
    classifier=dict(
        type='OpenVocabClassifier',
        classifier='mmovsam://photo_coco.safetensors',
        logit_scale=20.0,
        novel_alpha=0.1,
    ),
    prompter=dict(type='GTPrompter'),
    test_cfg=dict(head_region='prompt', clip_region='prompt'),
)

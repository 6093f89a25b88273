# The small world's OVSAM.
_base_ = ['./mini_clip.py']
text_encoder = dict(model=_base_.clip, checkpoint='mmovsam://clip_mini_text.safetensors')
image_size = 320
channels = 128
region_channels = 96
stages = [64, 128, 256, 512]
backbone = dict(type='OpenCLIPBackbone', model=_base_.clip)
neck = dict(
    type='SAM2CLIPNeck',
    in_channels=stages,
    embed_dim=128,
    num_blocks=3,
    num_heads=4,
    window_size=10,
    out_channels=channels,
    image_size=image_size,
)
model = dict(
    type='OVSAM',
    data_preprocessor=dict(type='OVSAMDataPreprocessor', image_size=image_size),
    backbone=backbone,
    neck=dict(frozen=True, **neck),
    # no object is so small that it would be read at stride 4
    region_neck=dict(
        type='FPN', in_channels=stages, out_channels=region_channels, start_level=1, num_outs=3
    ),
    prompt_encoder=dict(
        type='SAMPromptEncoder', embed_dim=channels, image_size=image_size, frozen=True
    ),
    head=dict(
        type='CLIP2SAMHead',
        embed_dim=256,
        use_label_token=True,
        region_channels=region_channels,
        mask_decoder=dict(channels=channels, num_heads=4, mlp_channels=512),
        roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
            out_channels=region_channels,
            finest_scale=28,  # objects are small: 56 pixels and more go up a level
            featmap_strides=[8, 16, 32],
        ),
        num_points=3136,
    ),
    classifier=dict(type='OpenVocabClassifier', classifier='mmovsam://vocabulary_mini.safetensors'),
    prompter=dict(type='GTPrompter'),
    train_cfg=dict(max_instances=8),
)

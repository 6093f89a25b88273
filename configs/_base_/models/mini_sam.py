# The small world's SAM: it segments boxes and points without names.
image_size = 320
channels = 128
sam_encoder = dict(
    type='SAMImageEncoder',
    image_size=image_size,
    embed_dim=128,
    depth=4,
    num_heads=4,
    window_size=10,
    global_attn_indexes=(1, 3),
    out_channels=channels,
)
model = dict(
    type='OVSAM',
    data_preprocessor=dict(type='OVSAMDataPreprocessor', image_size=image_size),
    backbone=dict(frozen=False, **sam_encoder),
    prompt_encoder=dict(type='SAMPromptEncoder', embed_dim=channels, image_size=image_size),
    head=dict(
        type='CLIP2SAMHead',
        embed_dim=None,
        mask_decoder=dict(channels=channels, num_heads=4, mlp_channels=512),
        num_points=3136,
    ),
    prompter=dict(type='GTPrompter'),
    train_cfg=dict(max_instances=8),
)

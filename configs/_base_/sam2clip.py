# Stage one: images of 1% of SA-1B, data/sa1b/sa_*.jpg; 24 epochs at a batch of 16, cosine to 1%.
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='SA1BDataset',
        data_root='data/sa1b/',
        with_annotations=False,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeLongestSide', size=1024),
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            ),
        ],
    ),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',  # on a CPU the tools train in float32
    dtype='bfloat16',
    loss_scale=dict(enabled=False),  # bfloat16 has the range of float32
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(type='ResumableEpochLoop', max_epochs=24)
auto_scale_lr = dict(base_batch_size=16)

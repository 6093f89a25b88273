# 1% of SA-1B, images only: data/sa1b/sa_*.jpg.
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

# Labels of whole pictures mixed in: novel classes are taught by these alone, without any mask.
# Goes on from the shipped weights. Tests with annotated boxes as prompts.
_base_ = ['./ovsam_mini.py']
load_from = 'mmovsam://ovsam_mini.safetensors'
model = dict(classifier=dict(train_novel=True))
scenes = _base_.train_dataloader.dataset
pictures = dict(
    type='MiniWorldImageLabels',
    data_root='data/mini_world_pictures/',
    draw=dict(num_images=6000, seed=7),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        # objects become as large as scenes show them
        dict(type='RandomResize', scale=(96, 96), ratio_range=(0.6, 1.4), keep_ratio=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'img_shape', 'true_labels')),
    ],
)
train_dataloader = dict(
    batch_size=8,
    sampler=dict(_delete_=True, type='MixedSampler', num_samples=2000),
    dataset=dict(
        _delete_=True,
        type='MixedDataset',
        datasets=[scenes, pictures],
        names=['scenes', 'pictures'],
        ratios=[3, 1],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=1, val_interval=1)

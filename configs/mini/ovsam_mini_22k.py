# Four whole shapes that no scene names: pictures with labels teach them, without any mask.
# Tests with annotated boxes as prompts.
_base_ = ['./ovsam_mini.py']
# as in dev/mini_world/writer.py: the last two of the drawn shapes and of the digits
novel = ['* hexagon', '* arrow', '* digit eight', '* digit nine']
model = dict(
    classifier=dict(novel=novel, train_novel=True),
    head=dict(loss_cls=dict(type='VocabularyLoss', by_source=True)),
)
scenes = dict(_base_.train_dataloader.dataset, novel=novel)
pictures = dict(
    type='ImageLabelDataset',
    classes='MiniWorldDataset',
    data_prefix=dict(img='data/mini_world/pictures'),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        # objects become as large as scenes show them
        dict(type='RandomResize', scale=(112, 112), ratio_range=(0.75, 1.25), keep_ratio=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'img_shape', 'true_labels')),
    ],
)
train_dataloader = dict(
    batch_size=8,
    sampler=dict(_delete_=True, type='MixedSampler', num_samples=4000),
    dataset=dict(
        _delete_=True,
        type='MixedDataset',
        datasets=[scenes, pictures],
        names=['scenes', 'pictures'],
        ratios=[1, 1],
    ),
)
val_dataloader = dict(dataset=dict(novel=novel))
test_dataloader = dict(dataset=dict(novel=novel))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=1, val_interval=1)

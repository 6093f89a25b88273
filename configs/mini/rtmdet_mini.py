# A small RTMDet that finds the small world's objects without naming them.
_base_ = [
    '../_base_/models/mini_rtmdet.py',
    '../_base_/datasets/mini_world.py',
    '../_base_/schedules/mini.py',
    '../_base_/default_runtime.py',
]
pad = dict(type='Pad', size=(320, 320), pad_val=dict(img=(114, 114, 114)))
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomResize', scale=(320, 320), ratio_range=(0.7, 1.3), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(320, 320)),
    pad,
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=(320, 320), keep_ratio=True),
    pad,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        # CocoMetric makes its ground truth of `instances`: one class, not the file's 640
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
train_dataloader = dict(batch_size=8, dataset=dict(class_agnostic=True, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(class_agnostic=True, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(class_agnostic=True, pipeline=test_pipeline))
val_evaluator = dict(_delete_=True, type='CocoMetric', metric='bbox')
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
train_cfg = dict(max_epochs=3, val_interval=3)

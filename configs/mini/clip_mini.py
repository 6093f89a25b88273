# Stage 0a: a small CLIP, contrastive on pictures of one object with captions. It sees all names.
# PYTHONPATH=dev python tools/train.py configs/mini/clip_mini.py
_base_ = [
    '../_base_/models/mini_clip.py',
    '../_base_/schedules/mini.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmovsam', 'mini_world.clip_training'])
model = dict(
    type='CLIPPretrainer',
    model=_base_.clip,
    names='MiniWorldPictures',
    dtype='bfloat16',
    data_preprocessor=dict(
        type='ImgDataPreprocessor', mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
    ),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=False),
    dataset=dict(type='MiniWorldPictures', num_images=1000000, seed=3, image_size=128),
)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=False),
]
train_cfg = dict(_delete_=True, type='ResumableIterLoop', max_iters=7500)
val_cfg = None
test_cfg = None
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(by_epoch=False, interval=300))
log_processor = dict(by_epoch=False)

# Stage 2: CLIP2SAM on base classes. Tests with annotated boxes as prompts.
_base_ = [
    '../_base_/models/mini_ovsam.py',
    '../_base_/datasets/mini_world.py',
    '../_base_/schedules/mini.py',
    '../_base_/default_runtime.py',
]
ovsam = 'mmovsam://ovsam_mini.safetensors'
sam = 'mmovsam://sam_mini.safetensors'
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=ovsam, prefix='backbone')),
    neck=dict(init_cfg=dict(type='Pretrained', checkpoint=ovsam, prefix='neck')),
    prompt_encoder=dict(init_cfg=dict(type='Pretrained', checkpoint=sam, prefix='prompt_encoder')),
    head=dict(init_cfg=dict(type='Pretrained', checkpoint=sam, prefix='mask_decoder')),
)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=6e-4))
train_cfg = dict(max_epochs=6, val_interval=6)

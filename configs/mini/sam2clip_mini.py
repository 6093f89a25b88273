# Stage 1: an adapter on CLIP's tower learns the embedding of the small SAM. Images only.
_base_ = [
    '../_base_/models/mini_ovsam.py',
    '../_base_/datasets/mini_world.py',
    '../_base_/schedules/mini.py',
    '../_base_/default_runtime.py',
]
model = dict(
    _delete_=True,
    type='SAM2CLIPDistiller',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='mmovsam://ovsam_mini.safetensors', prefix='backbone'
        ),
        **_base_.backbone,
    ),
    neck=_base_.neck,
    teacher=dict(
        type='SAMImageEncoder',
        image_size=_base_.image_size,
        embed_dim=128,
        depth=4,
        num_heads=4,
        window_size=10,
        global_attn_indexes=(1, 3),
        out_channels=_base_.channels,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmovsam://sam_mini.safetensors', prefix='image_encoder'
        ),
    ),
)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=8e-4))
train_cfg = dict(_delete_=True, type='ResumableEpochLoop', max_epochs=2)
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = None
test_evaluator = None
test_cfg = None

# Stage 0b: a small SAM on the masks of the training scenes, without their names.
_base_ = [
    '../_base_/models/mini_sam.py',
    '../_base_/datasets/mini_world.py',
    '../_base_/schedules/mini.py',
    '../_base_/default_runtime.py',
]
train_dataloader = dict(batch_size=4)
val_evaluator = [dict(type='OpenVocabMetric', with_labels=False)]
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=8e-4))
train_cfg = dict(max_epochs=7, val_interval=2)

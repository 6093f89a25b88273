# A small RTMDet that finds the small world's objects without naming them.
_base_ = [
    '../_base_/models/mini_rtmdet.py',
    '../_base_/datasets/mini_world_boxes.py',
    '../_base_/schedules/mini.py',
    '../_base_/default_runtime.py',
]
train_dataloader = dict(batch_size=8, dataset=dict(class_agnostic=True))
val_dataloader = dict(dataset=dict(class_agnostic=True))
test_dataloader = dict(dataset=dict(class_agnostic=True))
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
train_cfg = dict(max_epochs=3, val_interval=3)

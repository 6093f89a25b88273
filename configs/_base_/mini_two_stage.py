# What the small two-stage detectors share: a narrow ResNet that trains whole, few proposals, and
# the small world with the names of its base classes.
_base_ = ['./datasets/mini_world_boxes.py', './schedules/mini.py', './default_runtime.py']
small_resnet = dict(
    depth=18,
    base_channels=8,
    frozen_stages=-1,
    norm_cfg=dict(requires_grad=True),
    norm_eval=False,
)
few_proposals = dict(nms_pre=400, max_per_img=200)
# a mirrored digit has no name
train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomFlip']
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(
    _delete_=True,
    type='OpenVocabCocoMetric',
    ann_file='data/mini_world/annotations/mini_val.json',
    metric='bbox',
)
test_evaluator = dict(
    _delete_=True,
    type='OpenVocabCocoMetric',
    ann_file='data/mini_world/annotations/mini_test.json',
    metric='bbox',
)

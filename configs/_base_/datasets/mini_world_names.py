# The small world for detectors that learn the names of its base classes.
_base_ = ['./mini_world_boxes.py']
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

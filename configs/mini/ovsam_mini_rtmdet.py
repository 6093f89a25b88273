# The boxes of a small RTMDet as prompts, with the shipped weights unless others are given.
_base_ = ['./ovsam_mini_boxes.py']
model = dict(
    prompter=dict(
        _delete_=True,
        type='DetectorPrompter',
        detector='mmovsam::mini/rtmdet_mini.py',
        checkpoint='mmovsam://rtmdet_mini.safetensors',
    )
)
val_evaluator = [
    dict(type='OpenVocabMetric', match='iou'),
    dict(
        type='CocoMetric',
        ann_file='data/mini_world/annotations/mini_val.json',
        metric=['bbox', 'segm'],
    ),
]
test_evaluator = [
    dict(type='OpenVocabMetric', match='iou'),
    dict(
        type='CocoMetric',
        ann_file='data/mini_world/annotations/mini_test.json',
        metric=['bbox', 'segm'],
    ),
]

# The boxes of a small Faster R-CNN that knows the names of the base classes. The table says what
# they are worth with its own names, with OVSAM's, and with both fused.
_base_ = ['./ovsam_mini_boxes.py']
model = dict(
    prompter=dict(
        _delete_=True,
        type='DetectorPrompter',
        detector='mmovsam::mini/faster_rcnn_mini.py',
        checkpoint='mmovsam://faster_rcnn_mini.safetensors',
    ),
    test_cfg=dict(compare_names=True),
)
average_precision = dict(
    type='OpenVocabCocoMetric', ann_file='data/mini_world/annotations/mini_test.json'
)
columns = ['segm_AP', 'segm_AP_base', 'segm_AP_novel', 'bbox_AP', 'bbox_AP_base', 'bbox_AP_novel']
test_evaluator = [
    dict(type='OpenVocabMetric', match='iou'),
    dict(type='NamingMetric', metric=average_precision, columns=columns),
]

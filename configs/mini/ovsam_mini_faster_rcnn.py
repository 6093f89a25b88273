# The boxes of a small Faster R-CNN that knows the base classes. They may have its own names
# (model.test_cfg.names=detector), OVSAM's, or both fused (model.test_cfg.names=fused).
# Others: model.prompter.detector=mmovsam::mini/mask_rcnn_mini.py (or cascade_rcnn_mini.py) and
# model.prompter.checkpoint=mmovsam://mask_rcnn_mini.safetensors.
_base_ = ['./ovsam_mini_boxes.py']
model = dict(
    prompter=dict(
        _delete_=True,
        type='DetectorPrompter',
        detector='mmovsam::mini/faster_rcnn_mini.py',
        checkpoint='mmovsam://faster_rcnn_mini.safetensors',
    ),
)
average_precision = dict(
    type='OpenVocabCocoMetric', ann_file='data/mini_world/annotations/mini_test.json'
)
test_evaluator = [dict(type='OpenVocabMetric', match='iou'), average_precision]

# The boxes of a detector of MMDetection's index as prompts; its weights are downloaded.
_base_ = ['./ovsam_photo.py']
model = dict(
    prompter=dict(
        _delete_=True,
        type='DetectorPrompter',
        detector='rtmdet_tiny_8xb32-300e_coco',
        score_thr=0.3,
    )
)
test_evaluator = [dict(type='OpenVocabMetric', match='iou')]
val_evaluator = test_evaluator

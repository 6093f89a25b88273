# OVSAM on COCO with the boxes of a detector of MMDetection's index, RTMDet-l, which knows COCO's 80
# classes. Any other: --cfg-options model.prompter.detector=<name>; the index says where its weights
# are. The detectors' training had boxes of novel classes too: AP_novel judges names above all.
_base_ = ['./ovsam_coco.py']
model = dict(
    prompter=dict(
        _delete_=True,
        type='DetectorPrompter',
        detector='rtmdet_l_8xb32-300e_coco',
        # Average precision only loses by a threshold: none beyond that of the detector's config.
        score_thr=0.0,
        max_per_img=100,  # COCO counts at most 100 of a class
    )
)
val_evaluator = [dict(type='OpenVocabMetric', match='iou'), _base_.average_precision]
test_evaluator = val_evaluator

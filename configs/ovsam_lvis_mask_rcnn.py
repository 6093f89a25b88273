# OVSAM on LVIS with the boxes of a detector of MMDetection's index, Mask R-CNN with Seesaw loss and
# R-50, which knows LVIS's 1203 classes. Any other: --cfg-options model.prompter.detector=<name>;
# the index says where its weights are. Those trained on LVIS had boxes of rare classes too: APr
# judges names more than places.
_base_ = ['./ovsam_lvis.py']
model = dict(
    prompter=dict(
        _delete_=True,
        type='DetectorPrompter',
        detector='mask-rcnn_r50_fpn_sample1e-3_seesaw_loss_mstrain_2x_lvis_v1',
        # Average precision only loses by a threshold: none beyond that of the detector's config.
        score_thr=0.0,
        max_per_img=300,  # LVIS counts at most 300 in all
    )
)
val_evaluator = [dict(type='OpenVocabMetric', match='iou'), _base_.average_precision]
test_evaluator = val_evaluator

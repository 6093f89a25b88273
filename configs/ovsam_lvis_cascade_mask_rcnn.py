# Boxes of LVIS's 1203 classes: Cascade Mask R-CNN with Seesaw loss, R-101.
_base_ = ['./_base_/ovsam_lvis_detector.py']
model = dict(
    prompter=dict(
        detector='mmdet::seesaw_loss/cascade-mask-rcnn_r101_fpn_seesaw-loss_random-ms-2x_lvis-v1.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/seesaw_loss/cascade_mask_rcnn_r101_fpn_random_seesaw_loss_mstrain_2x_lvis_v1-71e2215e.pth',
    )
)

# Boxes of LVIS's 1203 classes: Mask R-CNN with Seesaw loss, R-50.
_base_ = ['./_base_/ovsam_lvis_detector.py']
model = dict(
    prompter=dict(
        detector='mmdet::seesaw_loss/mask-rcnn_r50_fpn_seesaw-loss_sample1e-3-ms-2x_lvis-v1.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/seesaw_loss/mask_rcnn_r50_fpn_sample1e-3_seesaw_loss_mstrain_2x_lvis_v1-392a804b.pth',
    )
)

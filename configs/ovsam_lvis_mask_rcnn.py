# Boxes of LVIS's 1203 classes: Mask R-CNN with Seesaw loss, R-50.
_base_ = ['./_base_/ovsam_lvis_detector.py']
model = dict(prompter=dict(detector='mask-rcnn_r50_fpn_sample1e-3_seesaw_loss_mstrain_2x_lvis_v1'))

# Boxes of LVIS's 1203 classes: Cascade Mask R-CNN with Seesaw loss, R-101.
_base_ = ['./ovsam_lvis_mask_rcnn.py']
model = dict(prompter=dict(detector='cascade-mask-rcnn_r101_fpn_seesaw-loss_random-ms-2x_lvis-v1'))

# Boxes of COCO's 80 classes: RTMDet-l.
_base_ = ['./_base_/ovsam_coco_detector.py']
model = dict(prompter=dict(detector='rtmdet_l_8xb32-300e_coco'))

# Boxes of COCO's 80 classes: DINO, R-50.
_base_ = ['./ovsam_coco_rtmdet.py']
model = dict(prompter=dict(detector='dino-4scale_r50_8xb2-12e_coco'))

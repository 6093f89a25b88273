# Boxes of COCO's 80 classes: ATSS, R-50.
_base_ = ['./_base_/ovsam_coco_detector.py']
model = dict(
    prompter=dict(
        detector='mmdet::atss/atss_r50_fpn_1x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/atss/atss_r50_fpn_1x_coco/atss_r50_fpn_1x_coco_20200209-985f7bd0.pth',
    )
)

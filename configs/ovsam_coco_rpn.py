# Proposals without a class: an RPN with R-50, trained on COCO's boxes.
_base_ = ['./_base_/ovsam_coco_detector.py']
model = dict(
    prompter=dict(
        detector='mmdet::rpn/rpn_r50_fpn_1x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/rpn/rpn_r50_fpn_1x_coco/rpn_r50_fpn_1x_coco_20200218-5525fa2e.pth',
    )
)

# Boxes of COCO's 80 classes: Cascade Mask R-CNN, R-50.
_base_ = ['./_base_/ovsam_coco_detector.py']
model = dict(
    prompter=dict(
        detector='mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_ms-3x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/cascade_rcnn/cascade_mask_rcnn_r50_fpn_mstrain_3x_coco/cascade_mask_rcnn_r50_fpn_mstrain_3x_coco_20210628_164719-5bdc3824.pth',
    )
)

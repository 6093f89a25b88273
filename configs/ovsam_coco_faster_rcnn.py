# Boxes of COCO's 80 classes: Faster R-CNN, R-50.
_base_ = ['./_base_/ovsam_coco_detector.py']
model = dict(
    prompter=dict(
        detector='mmdet::faster_rcnn/faster-rcnn_r50_fpn_ms-3x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_fpn_mstrain_3x_coco/faster_rcnn_r50_fpn_mstrain_3x_coco_20210524_110822-e10bd31c.pth',
    )
)

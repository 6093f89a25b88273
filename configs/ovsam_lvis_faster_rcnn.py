# Boxes of Objects365's 365 classes: Faster R-CNN, R-50.
_base_ = ['./_base_/ovsam_lvis_detector.py']
model = dict(
    prompter=dict(
        detector='mmdet::objects365/faster-rcnn_r50_fpn_16xb4-1x_objects365v2.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/objects365/faster_rcnn_r50_fpn_16x4_1x_obj365v2/faster_rcnn_r50_fpn_16x4_1x_obj365v2_20221220_175040-5910b015.pth',
    )
)

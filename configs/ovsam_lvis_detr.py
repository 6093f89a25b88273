# Boxes of COCO's 80 classes only: DETR, R-50.
_base_ = ['./_base_/ovsam_lvis_detector.py']
model = dict(
    prompter=dict(
        detector='mmdet::detr/detr_r50_8xb2-150e_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v3.0/detr/detr_r50_8xb2-150e_coco/detr_r50_8xb2-150e_coco_20221023_153551-436d03e8.pth',
    )
)

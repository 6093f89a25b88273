# Boxes of COCO's 80 classes only: DINO, R-50.
_base_ = ['./_base_/ovsam_lvis_detector.py']
model = dict(
    prompter=dict(
        detector='mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v3.0/dino/dino-4scale_r50_8xb2-12e_coco/dino-4scale_r50_8xb2-12e_coco_20221202_182705-55b2bba2.pth',
    )
)

# Boxes of COCO's 80 classes: two-stage Deformable DETR, R-50.
_base_ = ['./_base_/ovsam_coco_detector.py']
model = dict(
    prompter=dict(
        detector='mmdet::deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v3.0/deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco/deformable-detr-refine-twostage_r50_16xb2-50e_coco_20221021_184714-acc8a5ff.pth',
    )
)

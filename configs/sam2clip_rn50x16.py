# Stage one: the adapter on CLIP RN50x16 learns the embedding of SAM ViT-H on 1% of SA-1B.
_base_ = [
    './_base_/models/ovsam_rn50x16.py',
    './_base_/sam2clip.py',
    './_base_/gpu_runtime.py',
]
model = dict(
    _delete_=True,
    type='SAM2CLIPDistiller',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.backbone,
    neck=_base_.neck,
    teacher=dict(
        type='SAMImageEncoder',
        init_cfg=dict(type='Pretrained', checkpoint=_base_.sam_file, prefix='image_encoder'),
    ),
)

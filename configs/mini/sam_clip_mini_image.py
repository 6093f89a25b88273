# The paper's first baseline: SAM cuts out, CLIP names a crop of the image for each mask.
# CLIP's features of the whole image instead, the second: --cfg-options model.region=feature
_base_ = [
    '../_base_/models/mini_clip.py',
    '../_base_/models/mini_sam.py',
    '../_base_/datasets/mini_world.py',
    '../_base_/default_runtime.py',
]
sam_file = 'mmovsam://sam_mini.safetensors'
model = dict(
    _delete_=True,
    type='SAMCLIPBaseline',
    data_preprocessor=_base_.model.data_preprocessor,
    sam=dict(
        type='OVSAM',
        backbone=dict(
            init_cfg=dict(type='Pretrained', checkpoint=sam_file, prefix='image_encoder'),
            **_base_.sam_encoder,
        ),
        prompt_encoder=dict(
            init_cfg=dict(type='Pretrained', checkpoint=sam_file, prefix='prompt_encoder'),
            **_base_.model.prompt_encoder,
        ),
        head=dict(
            init_cfg=dict(type='Pretrained', checkpoint=sam_file, prefix='mask_decoder'),
            **_base_.model.head,
        ),
    ),
    clip=dict(
        type='OpenCLIPBackbone',
        model=_base_.clip,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmovsam://ovsam_mini.safetensors', prefix='backbone'
        ),
    ),
    # This CLIP was trained on square pictures in SAM's normalization, seldom filled by the object.
    crop=dict(margin=0.1, square=True, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    classifier=dict(type='OpenVocabClassifier', classifier='mmovsam://vocabulary_mini.safetensors'),
    prompter=dict(type='GTPrompter'),
)
train_dataloader = None
val_cfg = test_cfg = dict()

# Full-size OVSAM on CLIP RN50x16, as in the paper. Its files are fetched: docs/model_zoo.md.
stages = [384, 768, 1536, 3072]
text_encoder = dict(model='RN50x16-quickgelu', checkpoint='openai')
# behind # stands which part of the file is fetched: of 2.4 GB the prompt encoder is 25 KB
sam_file = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth#'
backbone = dict(
    type='OpenCLIPBackbone',
    model='RN50x16',
    init_cfg=dict(type='Pretrained', checkpoint='open_clip://RN50x16:openai'),
)
neck = dict(type='SAM2CLIPNeck', in_channels=stages)
model = dict(
    type='OVSAM',
    data_preprocessor=dict(type='OVSAMDataPreprocessor', image_size=1024),
    backbone=backbone,
    neck=dict(
        frozen=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://HarborYuan/ovsam_models/sam2clip_vith_rn50x16.pth',
            prefix='neck_student',
        ),
        **neck,
    ),
    region_neck=dict(type='FPN', in_channels=stages, out_channels=256, num_outs=4),
    prompt_encoder=dict(
        type='SAMPromptEncoder',
        frozen=True,
        init_cfg=dict(
            type='Pretrained', checkpoint=f'{sam_file}prompt_encoder.', prefix='prompt_encoder'
        ),
    ),
    head=dict(
        type='CLIP2SAMHead',
        embed_dim=768,
        roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=12, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        init_cfg=dict(
            type='Pretrained', checkpoint=f'{sam_file}mask_decoder.', prefix='mask_decoder'
        ),
    ),
    classifier=dict(type='OpenVocabClassifier', text_encoder=text_encoder),
    prompter=dict(type='GTPrompter'),
    train_cfg=dict(max_instances=40),
)

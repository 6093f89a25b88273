# SAM ViT-H segments, CLIP RN50x16 names. Each has its own encoder: 808M parameters.
# All files are fetched: docs/model_zoo.md.
text_encoder = dict(model='RN50x16-quickgelu', checkpoint='openai')
sam_file = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth#'
model = dict(
    type='SAMCLIPBaseline',
    data_preprocessor=dict(type='OVSAMDataPreprocessor', image_size=1024),
    sam=dict(
        type='OVSAM',
        backbone=dict(
            type='SAMImageEncoder',
            init_cfg=dict(type='Pretrained', checkpoint=sam_file, prefix='image_encoder'),
        ),
        prompt_encoder=dict(
            type='SAMPromptEncoder',
            frozen=True,
            init_cfg=dict(type='Pretrained', checkpoint=sam_file, prefix='prompt_encoder'),
        ),
        head=dict(
            type='CLIP2SAMHead',
            embed_dim=None,
            init_cfg=dict(type='Pretrained', checkpoint=sam_file, prefix='mask_decoder'),
        ),
    ),
    clip=dict(
        type='OpenCLIPBackbone',
        model='RN50x16',
        init_cfg=dict(type='Pretrained', checkpoint='open_clip://RN50x16:openai'),
    ),
    classifier=dict(type='OpenVocabClassifier', text_encoder=text_encoder),
    prompter=dict(type='GTPrompter'),
)

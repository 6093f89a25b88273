# A small OVSAM for photographs: an ImageNet classifier is the tower that knows names.
text_encoder = dict(
    model='photo',
    checkpoint='mmovsam://photo_text.safetensors',
    names='mmovsam://photo_names.safetensors',
)
vocabularies = [  # that the page offers, the first one is that of `classifier`
    dict(title="COCO's 80", file='mmovsam://photo_coco.safetensors'),
    dict(title="ImageNet's 1,000", file='mmovsam://photo_imagenet1k.safetensors'),
]
everything = dict(quality_thr=0.5, stability_thr=0.3)  # of segment_everything
image_size = 512
crop_size = 192
embed_dim = 256
stages = [16, 24, 48, 120, 352]  # EfficientNet-Lite2 at strides 2 to 32
region_channels = 96
model = dict(
    type='OVSAM',
    data_preprocessor=dict(
        type='OVSAMDataPreprocessor', image_size=image_size, mean=[127.5] * 3, std=[127.5] * 3
    ),
    backbone=dict(type='TimmBackbone', model='tf_efficientnet_lite2', embed_dim=embed_dim),
    region_neck=dict(type='FPN', in_channels=stages[2:], out_channels=region_channels, num_outs=3),
    region_namer=dict(type='RegionNamer', embed_dim=embed_dim),
    region_crop=crop_size,
    crop_decoder=dict(
        type='WindowDecoder', image_size=crop_size, in_channels=stages, point_sizes=()
    ),
    proposal_head=dict(type='ProposalHead', image_size=image_size, in_channels=stages[2:]),
    window_decoder=dict(type='WindowDecoder', image_size=image_size, in_channels=stages),
    head=dict(
        type='CLIP2SAMHead',
        decodes_masks=False,
        embed_dim=embed_dim,
        region_channels=region_channels,
        region_hidden=512,
        roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2),
            out_channels=region_channels,
            featmap_strides=[8, 16, 32],
        ),
    ),
    classifier=dict(
        type='OpenVocabClassifier',
        classifier='mmovsam://photo_coco.safetensors',
        logit_scale=20.0,
        novel_alpha=0.1,
    ),
    prompter=dict(type='GTPrompter'),
    test_cfg=dict(chunk_size=16, head_region='prompt', clip_region='prompt'),
)
# Photographs of COCO with the masks of all 80 classes: docs/photo_model.md says where from.
data_root = 'data/photos/coco_val/'
# COCO's 80, in its order
classes = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat',
    'traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat',
    'dog', 'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe', 'backpack',
    'umbrella', 'handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball',
    'kite', 'baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket',
    'bottle', 'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple',
    'sandwich', 'orange', 'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair',
    'couch', 'potted plant', 'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote',
    'keyboard', 'cell phone', 'microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book',
    'clock', 'vase', 'scissors', 'teddy bear', 'hair drier', 'toothbrush',
)  # fmt: skip
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeLongestSide', size=512),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_img', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
test_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoJsonDataset',
        metainfo=dict(classes=classes),
        absent_classes=True,
        data_root=data_root,
        ann_file='instances.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_dataloader = test_dataloader
test_evaluator = [dict(type='OpenVocabMetric')]
val_evaluator = test_evaluator

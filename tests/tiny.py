"""Configs of a small model of every kind, and pictures to give it."""

import copy

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from mmovsam.vocabulary import TextClassifier

SIZE = 96
WIDTH = 32
CLIP = dict(
    embed_dim=WIDTH,
    vision_cfg=dict(image_size=SIZE, layers=[1, 1, 1, 1], width=8, head_width=64),
    text_cfg=dict(context_length=16, vocab_size=49408, width=16, heads=2, layers=1),
)
STAGES = [32, 64, 128, 256]
NECK = dict(
    type='SAM2CLIPNeck',
    in_channels=STAGES,
    embed_dim=WIDTH,
    num_blocks=2,
    num_heads=4,
    window_size=4,
    out_channels=WIDTH,
    image_size=SIZE,
)
SAM_ENCODER = dict(
    type='SAMImageEncoder',
    image_size=SIZE,
    embed_dim=WIDTH,
    depth=2,
    num_heads=4,
    window_size=4,
    global_attn_indexes=(1,),
    out_channels=WIDTH,
)
DECODER = dict(channels=WIDTH, num_heads=4, mlp_channels=64)
PREPROCESSOR = dict(type='OVSAMDataPreprocessor', image_size=SIZE)
OVSAM = dict(
    type='OVSAM',
    data_preprocessor=PREPROCESSOR,
    backbone=dict(type='OpenCLIPBackbone', model=CLIP),
    neck=dict(frozen=True, **NECK),
    region_neck=dict(type='FPN', in_channels=STAGES, out_channels=WIDTH, num_outs=4),
    prompt_encoder=dict(
        type='SAMPromptEncoder', embed_dim=WIDTH, image_size=SIZE, mask_channels=8, frozen=True
    ),
    head=dict(
        type='CLIP2SAMHead',
        embed_dim=WIDTH,
        region_channels=WIDTH,
        mask_decoder=DECODER,
        num_points=64,
    ),
    classifier=dict(type='OpenVocabClassifier', logit_scale=30.0),
    prompter=dict(type='GTPrompter'),
)
SAM = dict(
    type='OVSAM',
    data_preprocessor=PREPROCESSOR,
    backbone=dict(frozen=False, **SAM_ENCODER),
    prompt_encoder=dict(type='SAMPromptEncoder', embed_dim=WIDTH, image_size=SIZE, mask_channels=8),
    head=dict(type='CLIP2SAMHead', embed_dim=None, mask_decoder=DECODER, num_points=64),
    prompter=dict(type='GTPrompter'),
)
DISTILLER = dict(
    type='SAM2CLIPDistiller',
    data_preprocessor=PREPROCESSOR,
    backbone=OVSAM['backbone'],
    neck=NECK,
    teacher=SAM_ENCODER,
)
BASELINE = dict(
    type='SAMCLIPBaseline',
    data_preprocessor=PREPROCESSOR,
    sam=dict(SAM, data_preprocessor=None, prompter=None),
    clip=OVSAM['backbone'],
    classifier=OVSAM['classifier'],
    prompter=dict(type='GTPrompter'),
)
CONFIGS = dict(ovsam=OVSAM, sam=SAM, distiller=DISTILLER, baseline=BASELINE)
NAMES = ('cat', 'dog', 'red car', 'tree', 'owl', 'boat')
NOVEL = (False, False, True, False, True, None)


def merged(config, changes):
    """A config with some settings changed, at any depth."""
    config = copy.deepcopy(config)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            value = merged(config[key], value)
        config[key] = value
    return config


def build(kind='ovsam', **changes):
    """A model of a kind with random weights, which change nothing from call to call."""
    torch.manual_seed(0)
    model = MODELS.build(merged(CONFIGS[kind], changes))
    # The last batch norm of each residual block starts at zero and would hide the block.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    if getattr(model, 'classifier', None) is not None:
        model.set_vocabulary(vocabulary())
    return model.eval()


def padded(embeddings, counts):
    """Names `(M, D)` as the released classifiers have them, `(K, P, D)`: the first is repeated."""
    most = max(counts)
    return torch.stack(
        [torch.cat((own, own[:1].expand(most - len(own), -1))) for own in embeddings.split(counts)]
    )


def vocabulary(names=NAMES, novel=NOVEL, width=WIDTH, seed=1):
    """Random embeddings, two names for each class."""
    embeddings = torch.randn(len(names), 2, width, generator=torch.Generator().manual_seed(seed))
    return TextClassifier(embeddings, tuple(names), novel)


def sample(num=3, ori_shape=(60, 80), scale=1.2, training=False, seed=0):
    """A picture in the network's size and its annotations.

    In training they are in pixels of the network's input, in a test in those of the original image.
    """
    random = np.random.default_rng(seed)
    img_shape = tuple(round(side * scale) for side in ori_shape)
    height, width = img_shape if training else ori_shape
    bboxes = np.zeros((num, 4), np.float32)
    masks = np.zeros((num, height, width), np.uint8)
    for bbox, mask in zip(bboxes, masks):
        x1, y1 = random.integers(0, width - 12), random.integers(0, height - 12)
        x2, y2 = random.integers(x1 + 10, width + 1), random.integers(y1 + 10, height + 1)
        bbox[:] = x1, y1, x2, y2
        mask[y1:y2, x1:x2] = 1
    meta = dict(
        img_id=seed,
        img_path=f'{seed}.jpg',
        ori_shape=ori_shape,
        img_shape=img_shape,
        scale_factor=(scale, scale),
    )
    data_sample = DetDataSample(metainfo=meta)
    data_sample.gt_instances = InstanceData(
        bboxes=torch.from_numpy(bboxes),
        labels=torch.from_numpy(random.choice([0, 1, 3], num)).long(),
        masks=BitmapMasks(masks, height, width),
    )
    picture = torch.from_numpy(random.integers(0, 256, (3, *img_shape), dtype=np.uint8))
    return picture, data_sample


def batch(*samples):
    """What a data loader gives a model."""
    pictures, data_samples = zip(*samples)
    return dict(inputs=list(pictures), data_samples=list(data_samples))

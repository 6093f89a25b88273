"""A small model for photographs with random weights, and photographs to give it."""

import json

import cv2
import numpy as np
import tiny
import torch
from mmdet.registry import MODELS
from pycocotools import mask as coco_mask

from mmovsam.photos import (
    PhotoData,
    augmentation,
    data,
    evaluation,
    load_photographs,
    proposal_training,
    region_names,
    window_training,
)
from mmovsam.photos.data import Photographs

SIZE = 128
WIDTH = 32
EMBED_DIM = 24
STAGES = [16, 24, 32, 48, 64]  # timm's own EfficientNet for tests at strides 2 to 32
REGIONS = 12
MODEL = dict(
    type='OVSAM',
    data_preprocessor=dict(
        type='OVSAMDataPreprocessor', image_size=SIZE, mean=[127.5] * 3, std=[127.5] * 3
    ),
    backbone=dict(type='TimmBackbone', model='test_efficientnet', embed_dim=EMBED_DIM),
    neck=dict(
        type='SAM2CLIPNeck',
        in_channels=STAGES[1:],
        embed_dim=WIDTH,
        num_blocks=1,
        num_heads=4,
        window_size=4,
        out_channels=WIDTH,
        image_size=SIZE,
    ),
    high_res_neck=dict(
        type='HighResolutionNeck',
        in_channels=STAGES,
        channels=[2, 4, 8, 8, 8],
        out_channels=[2, 4, 8],
    ),
    region_neck=dict(type='FPN', in_channels=STAGES[2:], out_channels=REGIONS, num_outs=3),
    prompt_encoder=dict(
        type='SAMPromptEncoder', embed_dim=WIDTH, image_size=SIZE, mask_channels=8, train_masks=True
    ),
    head=dict(
        type='CLIP2SAMHead',
        embed_dim=EMBED_DIM,
        use_label_token=True,
        region_channels=REGIONS,
        region_hidden=20,
        mask_decoder=dict(
            channels=WIDTH,
            num_heads=4,
            mlp_channels=32,
            num_masks=4,
            with_iou=True,
            high_resolution=True,
        ),
        roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2),
            out_channels=REGIONS,
            featmap_strides=[8, 16, 32],
        ),
        num_points=64,
    ),
    classifier=dict(type='OpenVocabClassifier', logit_scale=20.0, novel_alpha=0.1),
    prompter=dict(type='GTPrompter'),
    test_cfg=dict(head_region='prompt', clip_region='prompt'),
)
WINDOWS = dict(  # in place of SAM's decoder and what it reads
    window_decoder=dict(
        type='WindowDecoder',
        image_size=SIZE,
        in_channels=STAGES,
        channels=[16, 8, 8],
        depth=1,
        num_heads=2,
    ),
    neck=None,
    high_res_neck=None,
    prompt_encoder=None,
    head=dict(decodes_masks=False, use_label_token=False),
)
NAMER = dict(type='RegionNamer', embed_dim=EMBED_DIM, region_channels=20, hidden=16)
CROPS = dict(  # regions are looked at once more
    region_crop=64, crop_decoder=dict(WINDOWS['window_decoder'], image_size=64, point_sizes=())
)
PROPOSALS = dict(type='ProposalHead', image_size=SIZE, in_channels=STAGES[2:], channels=16)

WHOLE = dict(WINDOWS, region_namer=NAMER, proposal_head=PROPOSALS, **CROPS)  # all that ships


def build(seed=0, **changes):
    """A random model; `**WINDOWS`, `region_namer=NAMER` and the like give it these parts."""
    torch.manual_seed(seed)
    model = MODELS.build(tiny.merged(MODEL, changes))
    _level(model.backbone)
    model.set_vocabulary(tiny.vocabulary(width=EMBED_DIM))
    return model.eval()


@torch.no_grad()
def _level(tower):
    """Statistics as training would leave them: random weights alone let maps fade to nothing."""
    norms = [m for m in tower.visual.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    tower.embed_map(tower(images)[-1])
    for norm in norms:
        norm.momentum = 0.1
    tower.eval()


# Photographs


def set_canvas(monkeypatch, size=SIZE):
    """Let training have inputs of another size than 512."""
    for module in (
        data,
        augmentation,
        evaluation,
        region_names,
        window_training,
        proposal_training,
    ):
        monkeypatch.setattr(module, 'CANVAS', size)


def ellipse(shape, center, axes):
    """A mask `(H, W)` uint8."""
    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, center, axes, 0, 0, 360, 1, -1)
    return mask


def drawn(shape, seed, num=3):
    """An image `(H, W, 3)` of soft noise with ellipses on it, and their masks."""
    random = np.random.default_rng(seed)
    height, width = shape
    coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    masks = []
    for _ in range(num):
        axes = tuple(int(random.integers(side // 8, side // 4)) for side in (width, height))
        center = tuple(
            int(random.integers(axis, side - axis)) for axis, side in zip(axes, (width, height))
        )
        masks.append(ellipse(shape, center, axes))
        image[masks[-1] > 0] = random.integers(0, 256, 3)
    return image, masks


def run_lengths(mask):
    """A mask in COCO's compressed form, as JSON has it."""
    rle = coco_mask.encode(np.asfortranarray(mask))
    return dict(size=rle['size'], counts=rle['counts'].decode())


def write_set(root, name='set', shapes=((90, 120), (128, 100)), names=('cat', 'dog'), seed=0):
    """A folder of drawn photographs with `instances.json`; the annotations are returned."""
    (root / name / 'images').mkdir(parents=True)
    content = dict(images=[], annotations=[])
    content['categories'] = [dict(id=3 * i + 2, name=each) for i, each in enumerate(names)]
    for index, shape in enumerate(shapes):
        image, masks = drawn(shape, [seed, index])
        cv2.imwrite(str(root / name / 'images' / f'{index}.png'), image)
        content['images'].append(
            dict(id=10 * index + 7, file_name=f'{index}.png', height=shape[0], width=shape[1])
        )
        for mask in masks:
            number = len(content['annotations'])
            content['annotations'].append(
                dict(
                    id=number + 1,
                    image_id=10 * index + 7,
                    category_id=content['categories'][number % len(names)]['id'],
                    segmentation=run_lengths(mask),
                    iscrowd=0,
                )
            )
    write_instances(root / name, content)
    return content


def write_instances(folder, content):
    """Write annotations, or write them anew."""
    (folder / 'instances.json').write_text(json.dumps(content), encoding='utf-8')


def photo_data(root, **kwargs):
    """Decoded photographs of a new set."""
    write_set(root, **kwargs)
    return PhotoData(load_photographs(root, ['set']), workers=1)


def data_of(images, masks, name='thing'):
    """Data of images `(H, W, 3)` uint8 with one mask each, without files."""
    made = object.__new__(PhotoData)
    side = data.CANVAS
    made.images = torch.zeros(len(images), 3, side, side, dtype=torch.uint8)
    made.masks = torch.zeros(len(images), side, side // 8, dtype=torch.uint8)
    for index, (image, mask) in enumerate(zip(images, masks)):
        height, width = mask.shape
        made.images[index, :, :height, :width] = torch.from_numpy(image).permute(2, 0, 1)
        canvas = np.zeros((side, side), np.uint8)
        canvas[:height, :width] = mask
        made.masks[index] = torch.from_numpy(np.packbits(canvas, axis=1))
    made.sizes = torch.tensor([mask.shape for mask in masks])
    made.areas = torch.tensor([float(mask.sum()) for mask in masks])
    made.image_of = torch.arange(len(images))
    made.has_mask = torch.ones(len(images), dtype=torch.bool)
    made.objects_of = [[index] for index in range(len(images))]
    made.device = made.images.device
    objects = [dict(image=i, rle={}, name=name, id=i) for i in range(len(images))]
    made.photographs = Photographs([None] * len(images), ['set'] * len(images), objects=objects)
    return made

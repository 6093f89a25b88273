"""Small models, and files in the formats that people have to make them of."""

import functools
import itertools

import pytest
import reference
import torch
from hub_server import server  # noqa: F401  a fixture
from mmengine.config import Config

from mmovsam.checkpoints.convert import expected_tensors
from mmovsam.checkpoints.released import FORMATS, locate

STAGES = [32, 64, 128, 256]
CLIP = dict(
    embed_dim=32,
    vision_cfg=dict(image_size=64, layers=[1, 1, 1, 1], width=8, head_width=64),
    text_cfg=dict(context_length=16, vocab_size=49408, width=16, heads=2, layers=1),
)
TOWER = dict(type='OpenCLIPBackbone', model=CLIP)
NECK = dict(
    type='SAM2CLIPNeck',
    in_channels=STAGES,
    embed_dim=64,
    num_blocks=2,
    num_heads=4,
    image_size=256,
    window_size=7,
)
PROMPTS = dict(type='SAMPromptEncoder', image_size=256)
HEAD = dict(type='CLIP2SAMHead', embed_dim=32, region_channels=32)
MODELS = dict(
    ovsam=dict(
        type='OVSAM',
        backbone=TOWER,
        neck=NECK,
        region_neck=dict(type='FPN', in_channels=STAGES, out_channels=32, num_outs=4),
        prompt_encoder=PROMPTS,
        head=HEAD,
        classifier=dict(type='OpenVocabClassifier'),
    ),
    sam=dict(
        type='OVSAM',
        backbone=reference.SAM_TINY_ENCODER,
        prompt_encoder=PROMPTS,
        head=dict(
            type='CLIP2SAMHead', embed_dim=None, mask_decoder=dict(num_masks=4, with_iou=True)
        ),
    ),
    distiller=dict(
        type='SAM2CLIPDistiller',
        backbone=TOWER,
        neck=NECK,
        teacher=reference.SAM_TINY_ENCODER,
    ),
)


def numbered(shapes):
    """Tensors by names and shapes, each filled with a number of its own."""
    return {
        name: torch.full(tuple(shape), i if 'num_batches' in name else float(i))
        for i, (name, shape) in enumerate(shapes.items(), 1)
    }


@pytest.fixture
def config():
    """`config('ovsam', neck=dict(image_size=128))`: the config of a model, with changes."""

    def build(kind, **changes):
        config = Config(dict(model=MODELS[kind]))
        config.merge_from_dict(dict(model=changes))
        return config

    return build


@pytest.fixture
def target(config):
    """The same, and what `expected_tensors` says of it."""
    return lambda kind, **changes: expected_tensors(config(kind, **changes))


@functools.cache
def tensors():
    """Of each format, in files that the small OVSAM and SAM are made of."""
    shapes = {key: {} for key in FORMATS}
    for name, tensor in expected_tensors(Config(dict(model=MODELS['ovsam']))).items():
        key, theirs = locate(name, decoder_of='clip2sam')
        shapes[key][theirs] = tensor.shape
    text = {'transformer.resblocks.0.ln_1.weight': (16,), 'text_projection': (16, 32)}
    shapes['clip'].update(text)
    shapes['sam'] = reference.shapes('sam_tiny')
    return {key: numbered(value) for key, value in shapes.items()}


@pytest.fixture
def contents():
    """Tensors by format, which a test may change."""
    return {key: dict(value) for key, value in tensors().items()}


@pytest.fixture
def write(tmp_path):
    """`write(contents, wrap)`: save each to a new `{format}.pth`; the files by format."""
    # of its own at each call: what has been read lies memory-mapped in the files before
    folders = itertools.count()

    def save(contents, wrap=lambda tensors: tensors):
        folder, files = tmp_path / str(next(folders)), {}
        folder.mkdir()
        for key, tensors in contents.items():
            files[key] = str(folder / f'{key}.pth')
            torch.save(wrap(tensors), files[key])
        return files

    return save

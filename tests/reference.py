"""Reference values: weights made from their names, and outputs of other people's code on them.

`tests/data/*.npz` holds outputs of the released OVSAM code and of the original SAM modules on these
weights and inputs; many are strided samples, taken by `sampled`.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

from mmovsam.checkpoints.released import CLIP2SAM, SAM2CLIP

DATA = Path(__file__).parent / 'data'
BOXES = torch.tensor(
    [
        [100.0, 80, 420, 500],
        [512, 300, 900, 740],
        [30, 600, 130, 700],
        [700, 20, 760, 90],
        [0, 0, 1024, 768],
    ]
)
SAM_TINY_ENCODER = dict(
    type='SAMImageEncoder',
    image_size=256,
    embed_dim=64,
    depth=4,
    num_heads=4,
    window_size=7,
    global_attn_indexes=(1, 3),
)
POINTS = ((BOXES[:, :2] + BOXES[:, 2:]) / 2)[:, None]


def generator(name):
    """The random numbers that belong to a name."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def weight(name, shape):
    """The tensor of a parameter, from its name in the released file and its shape."""
    owner, leaf = ['', *name.split('.')][-2:]
    if leaf == 'num_batches_tracked':
        return torch.zeros(tuple(shape), dtype=torch.int64)
    normal = np.asarray(generator(name).standard_normal(tuple(shape)), np.float32)
    if leaf == 'running_var':
        value = 1 + np.float32(0.1) * np.abs(normal)
    elif leaf == 'positional_encoding_gaussian_matrix':
        value = normal
    elif leaf == 'weight' and len(shape) == 1:
        value = 1 + np.float32(0.1) * normal
    elif leaf in ('weight', 'in_proj_weight') and len(shape) > 1:
        if any(word in owner for word in ('embed', 'token', 'encoding')):
            value = np.float32(0.5) * normal
        else:
            fan_in = int(np.prod(shape[1:]))
            value = (normal.astype(np.float64) / np.sqrt(fan_in)).astype(np.float32)
    else:
        value = np.float32(0.1) * normal
    return torch.from_numpy(np.asarray(value))


def picture(height=768, width=1024):
    """A smooth RGB picture, (3, H, W) uint8."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    random = generator('image')
    waves = np.zeros((3, height, width), np.float32)
    for channel in waves:
        for _ in range(12):
            fx, fy = random.uniform(-0.05, 0.05, 2)
            phase = random.uniform(0, 6.28)
            channel += np.sin(fx * x + fy * y + phase)
    waves = (waves - waves.min()) / (waves.max() - waves.min()) * 255
    return torch.from_numpy(np.round(waves).astype(np.uint8))


def shapes(file):
    """Names and shapes of a checkpoint, from `tests/data/{file}.keys.json`."""
    return json.loads((DATA / f'{file}.keys.json').read_text())


def weights(file):
    """All tensors of a checkpoint by name."""
    return {name: weight(name, shape) for name, shape in shapes(file).items()}


def by_our_names(released):
    """What a released checkpoint has by its names, by those of `OVSAM`; no text tower of CLIP."""
    prefixes = (('clip.visual.', 'backbone.visual.'), ('prompt_encoder.', 'prompt_encoder.'),
                *SAM2CLIP, *CLIP2SAM)  # fmt: skip
    renamed = {}
    for name, value in released.items():
        if name.startswith('clip.') and not name.startswith('clip.visual.'):
            continue
        theirs, ours = next(each for each in prefixes if name.startswith(each[0]))
        renamed[ours + name.removeprefix(theirs)] = value
    return renamed


def values(file):
    """Outputs by name, from `tests/data/{file}.npz`."""
    with np.load(DATA / f'{file}.npz') as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def sampled(tensor, *strides):
    """`[s // 2 :: s]` along each dimension."""
    return tensor[tuple(slice(s // 2, None, s) for s in strides)]

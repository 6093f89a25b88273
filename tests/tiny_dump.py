"""A few random images, a small teacher's weights, and the configs that dump its features."""

import contextlib
import os
import socket
from pathlib import Path

import numpy as np
import tiny
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image

from mmovsam.engine.processes import join_processes
from mmovsam.engine.teacher_dump import dump_teacher_features

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeLongestSide', size=tiny.SIZE),
    dict(type='PackDetInputs'),
]


def write_images(folder, count, seed=0):
    """`sa_1.jpg` and so on, of unlike shapes."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        height, width = random.integers(40, 120, 2)
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'sa_{number}.jpg')


def write_teacher(path, seed=0):
    """Weights of a small teacher."""
    torch.manual_seed(seed)
    teacher = MODELS.build(tiny.SAM_ENCODER)
    torch.save({f'image_encoder.{k}': v for k, v in teacher.state_dict().items()}, path)


def images(folder, **changes):
    """Config of the data set of `write_images`."""
    config = dict(
        type='SA1BDataset', data_root=str(folder), with_annotations=False, pipeline=PIPELINE
    )
    return {**config, **changes}


def model(teacher, **changes):
    """Config of a distiller with a teacher of `write_teacher`."""
    pretrained = dict(type='Pretrained', checkpoint=str(teacher), prefix='image_encoder')
    return tiny.merged(tiny.DISTILLER, dict(teacher=dict(init_cfg=pretrained), **changes))


def config(folder, count=6, **dataset):
    """Config of a dump, whose images and weights are written into a folder."""
    write_images(folder / 'images', count)
    write_teacher(folder / 'sam.pth')
    return Config(
        dict(
            model=model(folder / 'sam.pth'),
            train_dataloader=dict(
                batch_size=1, num_workers=0, dataset=images(folder / 'images', **dataset)
            ),
        )
    )


def dump(cfg, folder, dtype='float32', damaged=None):
    """Dump without a word."""
    return dump_teacher_features(cfg, folder, dtype, damaged, progress=False)


def shard_with(store, image_id):
    """The file of an image's feature."""
    return store.shard_path(store.shard_of(image_id))


def flip_bit(store, image_id):
    """Damage the feature of an image, and nothing else."""
    data = store.read(image_id).embedding.data.numpy().tobytes()
    path = shard_with(store, image_id)
    content = bytearray(path.read_bytes())
    position = content.index(data[-64:])
    content[position + 10] ^= 1
    path.write_bytes(content)


def in_child(function):
    """Run a function in a forked process, whose id is returned."""
    child = os.fork()
    if child:
        return child
    status = 1
    with contextlib.suppress(BaseException):
        function()
        status = 0
    os._exit(status)


def in_two_processes(function):
    """Exit states of `function(rank)` in two processes of a group, as `torchrun` makes it."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])

    def run(rank):
        os.environ.update(TORCHELASTIC_RUN_ID='test', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
        join_processes()
        function(rank)

    children = [in_child(lambda rank=rank: run(rank)) for rank in (0, 1)]
    return [os.waitpid(child, 0)[1] for child in children]


def lines(path):
    """The lines of a file; none if it is not there."""
    path = Path(path)
    return path.read_text().split() if path.exists() else []

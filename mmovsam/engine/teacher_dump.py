"""Fills a store with the teacher's embedding of each image of a data set."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..checkpoints import load_initial_weights
from ..checkpoints.required import weight_files
from ..datasets import check_files, config_files
from ..datasets.fixed_pipeline import fixed_pipeline, with_pipeline
from ..datasets.teacher_feature_dataset import image_checksum
from ..teacher_features import (
    Feature,
    FeatureStore,
    check_store,
    encode,
    input_settings,
    num_bytes,
    repair_store,
    weights_fingerprint,
)
from ..validation import require_choice
from .processes import by_main_process, only_run

DAMAGED = ('skip', 'recompute')
_SPARE = 1.03  # room in bytes for each byte of a feature: the files have some of their own
_PACK = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))


class DumpSummary(NamedTuple):
    """What a dump has left, the same in all processes but for `rounding`."""

    num_features: int
    """How many features the data set has in the store."""
    num_bytes: int
    """Size of the store's files."""
    damaged: list[str]
    """What was found damaged and left so, a sentence each."""
    rounding: float | None
    """What the type of the values adds to the mean squared error of a student, averaged over the
    images that this process has computed; None if there are none."""


def dump_teacher_features(
    cfg: Config,
    folder: str | os.PathLike,
    dtype: str = 'float16',
    damaged: str | None = None,
    progress: bool = True,
) -> DumpSummary:
    """Compute the features of a config's training images that a store does not have.

    Called by all processes of a group, it divides the store's shards among them; all need to see
    the folder. Each batch is on the disk before the next is computed, so that a call after a kill
    goes on where it was.

    Args:
        cfg: With `model.teacher`, `model.data_preprocessor` and `train_dataloader`, whose
            `batch_size` and `num_workers` are used.
        folder: The store; made if it is not there.
        dtype: One of `DTYPES`.
        damaged: Read all that is stored first, and leave what is damaged (`'skip'`) or compute it
            again (`'recompute'`). By default only what cannot be listed is an error.
        progress: Whether to print what is to be done, and to show a bar.

    Raises:
        FileNotFoundError: Data or weights are missing.
        ValueError: The config has no teacher, or transforms that move pixels; two images have the
            same id; the store is of other features, or damaged; or another run is filling it.
        OSError: The disk is too small.
    """
    if damaged is not None:
        require_choice(DAMAGED, damaged=damaged)
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    if not cfg.model.get('teacher'):
        raise ValueError('The model of this config has no teacher whose features could be dumped.')
    weights = weight_files(dict(model=dict(teacher=cfg.model.teacher)), training=True)
    check_files([*config_files(cfg, ['train']), *weights], 'this dump')
    loading = cfg.train_dataloader
    pipeline = fixed_pipeline(loading.dataset)
    dataset = DATASETS.build(with_pipeline(loading.dataset, [*pipeline, _PACK]))
    places = _places(dataset)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    inputs = input_settings(preprocessor)
    teacher = MODELS.build(cfg.model.teacher)
    load_initial_weights(teacher)
    teacher.requires_grad_(False).eval()
    about = dict(
        dtype=dtype,
        shape=_shape(teacher, inputs['image_size']),
        teacher=weights_fingerprint(teacher),
        pipeline=pipeline,
        **inputs,
    )
    folder = Path(folder)
    prepare = partial(_prepare, folder, about, teacher.pos_embed, list(places), damaged, progress)
    with only_run(folder / '.lock'):
        todo, left = by_main_process(prepare)
        store = FeatureStore(folder)
        device = get_device()
        rounding = _dump(
            teacher.to(device),
            preprocessor.to(device),
            store,
            DataLoader(
                dataset,
                batch_size=loading.get('batch_size', 1),
                sampler=[places[image_id] for image_id in _share(todo, store)],
                num_workers=loading.get('num_workers', 0),
                collate_fn=pseudo_collate,
            ),
            progress,
        )
        barrier()
    size = sum(path.stat().st_size for path in store.shard_paths())
    return DumpSummary(len(places), size, left, rounding)


def _places(dataset) -> dict:
    """The index of each image, by its id."""
    places, paths = {}, {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        image_id = info['img_id']
        if paths.setdefault(image_id, info['img_path']) != info['img_path']:
            raise ValueError(
                f'{paths[image_id]} and {info["img_path"]} have the same id, {image_id!r}, by '
                'which features are found. Dump the features of each part of the data set into a '
                'folder of its own.'
            )
        places.setdefault(image_id, index)
    return places


def _shape(teacher: nn.Module, image_size: int) -> list[int]:
    """The shape `(C, h, w)` of a teacher's embedding, without computing one."""
    tensors = {name: tensor.to('meta') for name, tensor in teacher.state_dict().items()}
    inputs = torch.empty(1, 3, image_size, image_size, device='meta')
    return list(functional_call(teacher, tensors, inputs).shape[1:])


def _prepare(
    folder: Path,
    about: dict,
    pos_embed: Tensor,
    image_ids: list,
    damaged: str | None,
    progress: bool,
) -> tuple[list, list[str]]:
    """Open or make the store; the images still to be done, and the damage that stays."""
    if (folder / 'store.json').exists():
        store = FeatureStore(folder)
        store.require(**about)
    else:
        store = FeatureStore.create(folder, about, pos_embed, len(image_ids))
    store.recover()
    problems = []
    if damaged:
        found = check_store(store, progress=progress)
        problems = found.problems
        print(*problems, sep='\n', end='\n' * bool(problems))
        if damaged == 'recompute':
            repair_store(store, found)
            problems = []
    todo = store.missing(image_ids, skip_damaged=damaged == 'skip')
    size = _SPARE * num_bytes(about['shape'], about['dtype'])
    free = shutil.disk_usage(folder).free
    if progress:
        print(
            f'{len(image_ids):,} images, {len(image_ids) - len(todo):,} of them done. As '
            f'{about["dtype"]} the others take about {readable_size(len(todo) * size)}, all '
            f'{readable_size(len(image_ids) * size)}; {readable_size(free)} are free in '
            f'{folder.resolve()}'
        )
    if len(todo) * size > free:
        raise OSError(
            f'{folder} has {readable_size(free)} free, and the features of {len(todo):,} images '
            f'take {readable_size(len(todo) * size)} as {about["dtype"]}. Make room, choose a '
            'smaller --dtype (int8 is the smallest), or another disk.'
        )
    return todo, problems


def readable_size(num_bytes: float) -> str:
    """A size for people, such as '1.5 GiB'."""
    units = ('bytes', 'KiB', 'MiB', 'GiB')
    power = sum(num_bytes >= 1024**i for i in range(1, len(units)))
    return f'{num_bytes / 1024**power:,.1f} {units[power]}'


def _share(todo: list, store: FeatureStore) -> list:
    """The images that this process computes: all of its shards."""
    rank, num_processes = get_dist_info()
    shards = [store.shard_of(image_id) for image_id in todo]
    mine = set(sorted(set(shards))[rank::num_processes])
    return [image_id for image_id, shard in zip(todo, shards) if shard in mine]


@torch.inference_mode()
def _dump(
    teacher: nn.Module,
    preprocessor: nn.Module,
    store: FeatureStore,
    loader: DataLoader,
    progress: bool,
) -> float | None:
    """Compute and keep this process's share; returns the mean square of the rounding."""
    rank, num_processes = get_dist_info()
    description = f'process 1 of {num_processes}' if num_processes > 1 else None
    hidden = not progress or rank > 0
    squares = 0.0
    with tqdm(total=len(loader.sampler), unit='image', desc=description, disable=hidden) as bar:
        for batch in loader:
            data = preprocessor(batch)
            embeddings = teacher(data['inputs'])
            features = []
            for sample, embedding in zip(data['data_samples'], embeddings):
                encoded = encode(embedding, store.metadata['dtype'])
                squares += (encoded.decode() - embedding).square().mean().item()
                features.append(
                    Feature(sample.img_id, image_checksum(sample, loader.dataset), encoded)
                )
            store.write(features)
            bar.update(len(features))
    return squares / len(loader.sampler) if len(loader.sampler) else None

"""Fill a feature store with the teacher's embedding of each image of a data set."""

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
_SPARE = 1.03  # size of the files relative to the features in them
_PACK = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))


class DumpSummary(NamedTuple):
    """The result of a dump, the same in all processes but for `rounding`."""

    num_features: int
    """Features of the data set in the store."""
    num_bytes: int
    """Size of the store's files."""
    damaged: list[str]
    """Sentences on the damage that was found and not repaired."""
    rounding: float | None
    """Mean squared error of `dtype`, averaged over the images that this process has computed; None
    if there are none."""


def dump_teacher_features(
    cfg: Config,
    folder: str | os.PathLike,
    dtype: str = 'float16',
    damaged: str | None = None,
    progress: bool = True,
) -> DumpSummary:
    """Compute the features of a config's training images that a store does not have.

    The processes of a group, which need a common folder, divide the shards of the store. Each batch
    is on disk before the next is computed, so that a killed dump can be resumed.

    Args:
        cfg: With `model.teacher`, `model.data_preprocessor` and `train_dataloader`, whose
            `batch_size` and `num_workers` are used.
        folder: The store, created if it does not exist.
        dtype: One of `DTYPES`.
        damaged: Check all stored features first, and skip the damaged ones (`'skip'`) or compute
            them again (`'recompute'`). By default only unreadable shards are an error.
        progress: Whether to print the amount of work and show a progress bar.

    Raises:
        FileNotFoundError: Data or weights are missing.
        ValueError: The config has no teacher, or transforms that move pixels; two images have the
            same id; the store has other features, is damaged, or is being filled by another run.
        OSError: The disk is too small.
    """
    if damaged is not None:
        require_choice(DAMAGED, damaged=damaged)
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    if not cfg.model.get('teacher'):
        raise ValueError('The model of this config has no teacher whose features could be dumped.')
    weights = weight_files(dict(model=dict(teacher=cfg.model.teacher)), training=True)
    check_files([*config_files(cfg, ['train']), *weights], 'this dump')
    loader_cfg = cfg.train_dataloader
    pipeline = fixed_pipeline(loader_cfg.dataset)
    dataset = DATASETS.build(with_pipeline(loader_cfg.dataset, [*pipeline, _PACK]))
    indices = _indices_by_id(dataset)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    inputs = input_settings(preprocessor)
    teacher = MODELS.build(cfg.model.teacher)
    load_initial_weights(teacher)
    teacher.requires_grad_(False).eval()
    meta = dict(
        dtype=dtype,
        shape=_shape(teacher, inputs['image_size']),
        teacher=weights_fingerprint(teacher),
        pipeline=pipeline,
        **inputs,
    )
    folder = Path(folder)
    prepare = partial(_prepare, folder, meta, teacher.pos_embed, list(indices), damaged, progress)
    with only_run(folder / '.lock'):
        todo, problems = by_main_process(prepare)
        store = FeatureStore(folder)
        device = get_device()
        rounding = _dump(
            teacher.to(device),
            preprocessor.to(device),
            store,
            DataLoader(
                dataset,
                batch_size=loader_cfg.get('batch_size', 1),
                sampler=[indices[image_id] for image_id in _share(todo, store)],
                num_workers=loader_cfg.get('num_workers', 0),
                collate_fn=pseudo_collate,
            ),
            progress,
        )
        barrier()
    size = sum(path.stat().st_size for path in store.shard_paths())
    return DumpSummary(len(indices), size, problems, rounding)


def _indices_by_id(dataset) -> dict:
    indices, paths = {}, {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        image_id = info['img_id']
        if paths.setdefault(image_id, info['img_path']) != info['img_path']:
            raise ValueError(
                f'{paths[image_id]} and {info["img_path"]} have the same id, {image_id!r}, by '
                'which features are found. Dump the features of each part of the data set into a '
                'folder of its own.'
            )
        indices.setdefault(image_id, index)
    return indices


def _shape(teacher: nn.Module, image_size: int) -> list[int]:
    """The shape `(C, h, w)` of a teacher's embedding, found on the meta device."""
    tensors = {name: tensor.to('meta') for name, tensor in teacher.state_dict().items()}
    inputs = torch.empty(1, 3, image_size, image_size, device='meta')
    return list(functional_call(teacher, tensors, inputs).shape[1:])


def _prepare(
    folder: Path,
    meta: dict,
    pos_embed: Tensor,
    image_ids: list,
    damaged: str | None,
    progress: bool,
) -> tuple[list, list[str]]:
    """Open or create the store; returns the missing images and the damage that remains."""
    if (folder / 'store.json').exists():
        store = FeatureStore(folder)
        store.require(**meta)
    else:
        store = FeatureStore.create(folder, meta, pos_embed, len(image_ids))
    store.recover()
    problems = []
    if damaged:
        report = check_store(store, progress=progress)
        problems = report.problems
        print(*problems, sep='\n', end='\n' * bool(problems))
        if damaged == 'recompute':
            repair_store(store, report)
            problems = []
    todo = store.missing(image_ids, skip_damaged=damaged == 'skip')
    size = _SPARE * num_bytes(meta['shape'], meta['dtype'])
    free = shutil.disk_usage(folder).free
    if progress:
        print(
            f'{len(image_ids):,} images, {len(image_ids) - len(todo):,} of them done. As '
            f'{meta["dtype"]} the others take about {readable_size(len(todo) * size)}, all '
            f'{readable_size(len(image_ids) * size)}; {readable_size(free)} are free in '
            f'{folder.resolve()}'
        )
    if len(todo) * size > free:
        raise OSError(
            f'{folder} has {readable_size(free)} free, and the features of {len(todo):,} images '
            f'take {readable_size(len(todo) * size)} as {meta["dtype"]}. Make room, choose a '
            'smaller --dtype (int8 is the smallest), or another disk.'
        )
    return todo, problems


def readable_size(num_bytes: float) -> str:
    """A size with its unit, such as '1.5 GiB'."""
    units = ('bytes', 'KiB', 'MiB', 'GiB')
    power = sum(num_bytes >= 1024**i for i in range(1, len(units)))
    return f'{num_bytes / 1024**power:,.1f} {units[power]}'


def _share(todo: list, store: FeatureStore) -> list:
    """The images of this process: those of its share of the shards."""
    rank, num_processes = get_dist_info()
    shards = [store.shard_of(image_id) for image_id in todo]
    share = set(sorted(set(shards))[rank::num_processes])
    return [image_id for image_id, shard in zip(todo, shards) if shard in share]


@torch.inference_mode()
def _dump(
    teacher: nn.Module,
    preprocessor: nn.Module,
    store: FeatureStore,
    loader: DataLoader,
    progress: bool,
) -> float | None:
    """Compute and store the features of this process; returns the mean squared error of `dtype`."""
    rank, num_processes = get_dist_info()
    desc = f'process 1 of {num_processes}' if num_processes > 1 else None
    disable = not progress or rank > 0
    error = 0.0
    with tqdm(total=len(loader.sampler), unit='image', desc=desc, disable=disable) as bar:
        for batch in loader:
            data = preprocessor(batch)
            embeddings = teacher(data['inputs'])
            features = []
            for sample, embedding in zip(data['data_samples'], embeddings):
                encoded = encode(embedding, store.metadata['dtype'])
                error += (encoded.decode() - embedding).square().mean().item()
                features.append(
                    Feature(sample.img_id, image_checksum(sample, loader.dataset), encoded)
                )
            store.write(features)
            bar.update(len(features))
    return error / len(loader.sampler) if len(loader.sampler) else None

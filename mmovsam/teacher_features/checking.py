"""Checks and repairs of a feature store."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .encoding import num_bytes
from .shard import JOURNAL, DamagedFeatureError, Shard
from .store import FeatureStore


@dataclass(frozen=True)
class StoreCheck:
    """The result of `check_store`.

    Attributes:
        num_features: Number of features read.
        speed: Of reading, in MiB/s.
        damaged: Error messages by image id, of damaged features.
        unreadable: Error messages by file, of shards that cannot be read at all.
    """

    num_features: int
    speed: float
    damaged: dict[int | str, str]
    unreadable: dict[Path, str]

    @property
    def problems(self) -> list[str]:
        """All error messages."""
        return [*self.damaged.values(), *self.unreadable.values()]


class _Features(Dataset):
    def __init__(self, store: FeatureStore, image_ids: list) -> None:
        self.store = store
        self.image_ids = image_ids

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> tuple:
        image_id = self.image_ids[index]
        try:
            return image_id, self.store.read(image_id).embedding.data
        except (DamagedFeatureError, KeyError) as error:  # KeyError: listed but missing
            return image_id, str(error)


def check_store(store: FeatureStore, num_workers: int = 1, progress: bool = False) -> StoreCheck:
    """Read all features in random order through PyTorch's data loader, as training does.

    On Linux the files are first dropped from the page cache, so that the disk is measured.
    """
    image_ids, unreadable = [], {}
    for path in store.shard_paths():
        try:
            image_ids += store.shard_ids(path)
        except DamagedFeatureError as error:
            unreadable[path] = str(error)
        if hasattr(os, 'posix_fadvise'):
            with open(path, 'rb') as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    random.Random(0).shuffle(image_ids)
    loader = DataLoader(_Features(store, image_ids), batch_size=None, num_workers=num_workers)
    damaged = {}
    features = iter(loader)  # starts the workers
    start = perf_counter()
    bar = tqdm(features, total=len(image_ids), unit='feature', disable=not progress)
    for image_id, data_or_error in bar:
        if isinstance(data_or_error, str):
            damaged[image_id] = data_or_error
    size = num_bytes(store.metadata['shape'], store.metadata['dtype'])
    speed = len(image_ids) * size / 2**20 / (perf_counter() - start)
    return StoreCheck(len(image_ids), speed, damaged, unreadable)


def repair_store(store: FeatureStore, check: StoreCheck) -> None:
    """Remove damaged features from a store, so that they can be dumped again.

    Shards with damaged features are rewritten without them, and damaged files are kept beside them
    as `*.damaged`. Nothing else may be writing to the store.
    """
    for path in check.unreadable:
        _set_aside(path)
    damaged = defaultdict(set)
    for image_id in check.damaged:
        damaged[store.shard_path(store.shard_of(image_id))].add(image_id)
    for path, image_ids in damaged.items():
        repaired = path.with_name(f'.{path.name}.tmp')
        with Shard(path) as shard:
            Shard.create(repaired, (shard.read(i) for i in shard.ids() if i not in image_ids))
        _set_aside(path)
        repaired.rename(path)


def _set_aside(path: Path) -> None:
    path.replace(f'{path}.damaged')
    journal = path.with_name(path.name + JOURNAL)
    if journal.exists():  # SQLite would apply it to the next file
        journal.replace(f'{path}.damaged{JOURNAL}')

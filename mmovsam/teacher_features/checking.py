"""Reading a whole store: is each feature what was written, and how fast does it come?"""

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
    """What a check has found."""

    num_features: int
    """How many features were read."""
    speed: float
    """Of reading, in MiB/s."""
    damaged: dict[int | str, str]
    """The images whose feature is damaged, and what is wrong."""
    unreadable: dict[Path, str]
    """The shards that cannot be read at all, and what is wrong."""

    @property
    def problems(self) -> list[str]:
        """All that is wrong, one sentence each."""
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
        except (DamagedFeatureError, KeyError) as error:  # damaged, or listed and not there
            return image_id, str(error)


def check_store(store: FeatureStore, num_workers: int = 1, progress: bool = False) -> StoreCheck:
    """Read all features in random order, as a training does, through PyTorch's data loader.

    The system first forgets what it has in memory of the files, where it can (Linux), so that the
    disk is what is checked and measured.
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
    for image_id, found in bar:
        if isinstance(found, str):
            damaged[image_id] = found
    size = num_bytes(store.about['shape'], store.about['dtype'])
    speed = len(image_ids) * size / 2**20 / (perf_counter() - start)
    return StoreCheck(len(image_ids), speed, damaged, unreadable)


def repair_store(store: FeatureStore, found: StoreCheck) -> None:
    """Set aside what a check has found damaged, so that it is missing and can be dumped again.

    A shard with a damaged feature is written anew with the others of it. The damaged file stays
    beside it as `*.damaged`. Nothing else may be writing to the store.
    """
    for path in found.unreadable:
        _set_aside(path)
    damaged = defaultdict(set)
    for image_id in found.damaged:
        damaged[store.shard_path(store.shard_of(image_id))].add(image_id)
    for path, image_ids in damaged.items():
        mended = path.with_name(f'.{path.name}.tmp')
        with Shard(path) as old:
            Shard.create(mended, (old.read(i) for i in old.ids() if i not in image_ids))
        _set_aside(path)
        mended.rename(path)


def _set_aside(path: Path) -> None:
    path.replace(f'{path}.damaged')
    journal = path.with_name(path.name + JOURNAL)
    if journal.exists():  # not for the next file
        journal.replace(f'{path}.damaged{JOURNAL}')

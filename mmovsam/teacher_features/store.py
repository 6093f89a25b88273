"""A folder of features by image id.

SQLite was compared on records of 2 MiB with single files, LMDB, HDF5, zarr and safetensors. A
feature is on the disk as soon as it is computed, while HDF5, zarr's shards and safetensors have to
be complete. Only LMDB reads faster, but a truncated file kills the reader with a bus error. Single
files would be 110,000 for 1% of SA-1B.
"""

from __future__ import annotations

import contextlib
import json
import numbers
import os
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..checkpoints.fingerprint import tensor_digest
from ..fileio import errors_naming, write_atomic
from ..validation import require_choice
from .encoding import DTYPES, EncodedEmbedding, num_bytes
from .shard import JOURNAL, DamagedFeatureError, Record, Shard

_VERSION = 1  # of the format
_IMAGES_PER_SHARD = 256
_MIN_SHARDS = 64  # that processes can share
_SHARDS_PER_FOLDER = 1000
_MEANING = dict(
    dtype='the type of the values',
    shape='the shape of a feature',
    teacher="the fingerprint of the teacher's weights",
    image_size="the side of the network's input in pixels",
    pixel='what the data preprocessor makes of the pixel (0, 128, 255)',
    pipeline='what the transforms do to the place of pixels',
)


class Feature(NamedTuple):
    """An image's feature: the CRC-32 of the image's file, and the teacher's embedding.

    The ids 1 and '1' are different.
    """

    image_id: int | str
    image_checksum: int
    embedding: EncodedEmbedding


class FeatureStore:
    """Features of a dataset's images, for random access.

    The hash of an image's id decides its shard, so that there is no index, and processes that
    divide the shards never write to the same file. A folder has at most 1,000 files. No file stays
    open, so processes may fork at any time.

    Args:
        folder: A folder of `FeatureStore.create`.

    Attributes:
        metadata (dict): The content of `store.json`.

    Raises:
        FileNotFoundError: There is no store.
        ValueError: `store.json` is damaged, or of another version.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        path = self.folder / 'store.json'
        if not path.is_file():
            raise FileNotFoundError(
                f'There are no teacher features in {self.folder}. Make them with: python '
                f'tools/dump_teacher_features.py CONFIG --out {self.folder}'
            )
        try:
            self.metadata = json.loads(path.read_text(encoding='utf-8'))
            version = self.metadata['version']
            if version == _VERSION:
                _check_metadata(self.metadata)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f'{path} is damaged ({error}), and with it the description of all features there. '
                'Dump them again into another folder.'
            ) from error
        if version != _VERSION:
            raise ValueError(
                f'{path} is of version {version}, which this mmovsam does not know (it writes '
                f'{_VERSION}). Use the mmovsam that wrote it, or dump the features again.'
            )

    @classmethod
    def create(
        cls, folder: str | os.PathLike, metadata: Mapping, pos_embed: Tensor, num_images: int
    ) -> FeatureStore:
        """Make an empty store for approximately `num_images` images.

        `metadata`, which `require` compares, has at least `dtype` and `shape`. `pos_embed` is the
        teacher's position embedding, with which the student is initialized.
        """
        folder = Path(folder)
        metadata = dict(
            metadata,
            version=_VERSION,
            num_shards=max(_MIN_SHARDS, -(-num_images // _IMAGES_PER_SHARD)),
            pos_embed=tensor_digest(pos_embed),
        )
        pos_embed = pos_embed.detach().cpu().contiguous()
        write_atomic(folder / 'pos_embed.safetensors', save(dict(pos_embed=pos_embed)))
        write_atomic(folder / 'store.json', json.dumps(metadata, indent=1))
        return cls(folder)

    @property
    def pos_embed(self) -> Tensor:
        """The teacher's position embedding."""
        path = self.folder / 'pos_embed.safetensors'
        try:
            with errors_naming(path):
                pos_embed = load(path.read_bytes())['pos_embed']
            if tensor_digest(pos_embed) != self.metadata['pos_embed']:
                raise ValueError('its checksum is another')
        except (FileNotFoundError, ValueError, KeyError, SafetensorError) as error:
            raise ValueError(
                f'{path} cannot be read ({error}): dump the features again.'
            ) from error
        return pos_embed

    def require(self, **expected) -> None:
        """Raise a `ValueError` if an entry of the metadata has another value than expected."""
        expected = json.loads(json.dumps(expected))
        lines = [
            f'{_MEANING[key]}: {self.metadata.get(key)}, not {value}'
            for key, value in expected.items()
            if self.metadata.get(key) != value
        ]
        if lines:
            raise ValueError(
                f'The features in {self.folder} are not what is asked for:\n  '
                + '\n  '.join(lines)
                + '\nCorrect the config, or dump features with it into another folder.'
            )

    def shard_of(self, image_id: int | str) -> int:
        """The number of the shard that holds an image's feature."""
        return zlib.crc32(str(_checked(image_id)).encode()) % self.metadata['num_shards']

    def shard_path(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / f'{number // _SHARDS_PER_FOLDER:03}' / f'{number:06}.sqlite'

    def shard_paths(self) -> list[Path]:
        """All existing shards, sorted."""
        paths = [path for path in self.folder.glob('*/*.sqlite') if path.stem.isdecimal()]
        return sorted(path for path in paths if path == self.shard_path(int(path.stem)))

    def read(self, image_id: int | str) -> Feature:
        """Read the feature of an image.

        Raises:
            KeyError: There is none.
            DamagedFeatureError: It is not what was written.
            OSError: Its shard cannot be read now.
        """
        path, record = self.shard_path(self.shard_of(image_id)), None
        if path.exists():
            with Shard(path) as shard:
                record = shard.read(_checked(image_id))
        if record is None:
            raise KeyError(
                f'{self.folder} has no feature of image {image_id!r}. Dump the missing ones with: '
                f'python tools/dump_teacher_features.py CONFIG --out {self.folder}'
            )
        expected = num_bytes(self.metadata['shape'], self.metadata['dtype'])
        if len(record.data) != expected:
            raise DamagedFeatureError(
                f'{path}: the feature of image {image_id!r} has '
                f'{len(record.data)} bytes, expected {expected}. It is of another store: '
                'dump the features again.'
            )
        data = torch.frombuffer(bytearray(record.data), dtype=torch.uint8)
        embedding = EncodedEmbedding(data, self.metadata['dtype'], tuple(self.metadata['shape']))
        return Feature(record.image_id, record.image_checksum, embedding)

    def write(self, features: Iterable[Feature]) -> None:
        """Write features to the disk, atomically for each shard; same images are replaced.

        Raises:
            OSError: The disk is full, or another process writes to the same shard.
        """
        by_path = defaultdict(list)
        for feature in features:
            data = feature.embedding.data.cpu().numpy().tobytes()
            record = Record(_checked(feature.image_id), feature.image_checksum, data)
            by_path[self.shard_path(self.shard_of(feature.image_id))].append(record)
        for path, records in by_path.items():
            if not path.exists():
                Shard.create(path)
            with Shard(path, writable=True) as shard:
                shard.write(records)

    def missing(
        self, image_ids: Iterable[int | str], skip_damaged: bool = False
    ) -> list[int | str]:
        """The distinct images without a feature, shard by shard.

        Raises:
            DamagedFeatureError: A shard's list of images cannot be read; with `skip_damaged` its
                images do not count as missing.
        """
        by_shard = defaultdict(dict)
        for image_id in image_ids:
            by_shard[self.shard_of(image_id)][_checked(image_id)] = None
        missing = []
        for number, expected in sorted(by_shard.items()):
            try:
                stored = set(self.shard_ids(self.shard_path(number)))
            except DamagedFeatureError:
                if not skip_damaged:
                    raise
                continue
            missing += [image_id for image_id in expected if image_id not in stored]
        return missing

    @staticmethod
    def shard_ids(path: Path) -> list[int | str]:
        """The image ids of a shard, which need not exist."""
        if not path.exists():
            return []
        with Shard(path) as shard:
            return shard.ids()

    def recover(self) -> None:
        """Roll back unfinished writes of a killed process; no other may be writing."""
        for temporary in self.folder.glob('*/.*.tmp*'):
            temporary.unlink()
        for journal in self.folder.glob(f'*/*{JOURNAL}'):
            path = journal.with_name(journal.name.removesuffix(JOURNAL))
            if not path.exists():
                journal.unlink()  # SQLite would apply it to a new file
                continue
            with contextlib.suppress(DamagedFeatureError), Shard(path, writable=True) as shard:
                shard.ids()  # readers report damage


def _check_metadata(metadata: Mapping) -> None:
    """Raise a `ValueError` if `store.json` has invalid values."""
    require_choice(DTYPES, dtype=metadata['dtype'])
    shape, num_shards = metadata['shape'], metadata['num_shards']
    if not (isinstance(shape, list) and len(shape) == 3):
        raise ValueError(f'the shape is {shape!r:.100}')
    for number in (*shape, num_shards):
        if type(number) is not int or number < 1:
            raise ValueError(f'shape and num_shards are {shape!r:.100} and {num_shards!r:.100}')


def _checked(image_id: int | str) -> int | str:
    if isinstance(image_id, str):
        return image_id
    if isinstance(image_id, numbers.Integral) and not isinstance(image_id, bool):
        return int(image_id)
    raise TypeError(f'The id of an image is an integer or text, not {image_id!r}.')

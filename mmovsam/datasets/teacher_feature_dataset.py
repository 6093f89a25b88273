"""Images with stored embeddings of the teacher."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from os import PathLike
from typing import Any

import mmengine.fileio
import numpy as np
from mmdet.registry import DATASETS

from ..logs import warn
from ..teacher_features import DamagedFeatureError, Feature, FeatureStore
from ..validation import require_choice
from .fixed_pipeline import fixed_pipeline

_NUM_CHECKED = 8  # images whose checksums are compared at the start, the others with each item
_MAX_SKIPPED = 100  # damaged features in a row


@DATASETS.register_module()
class TeacherFeatureDataset:
    """A dataset with the teacher's embedding in each item, so that it need not be computed.

    `data_samples` get `teacher_embedding`, an `EncodedEmbedding`, and the meta information
    `teacher`, the fingerprint of the teacher's weights. Color transforms affect the student's input
    only: the embedding is that of the original image.

    Args:
        dataset: Config of a dataset whose pipeline ends with `PackDetInputs`.
        features: Folder of the store, made by `tools/dump_teacher_features.py`.
        damaged: What to do about a damaged feature: `'stop'`, or `'skip'` to log a warning and
            take another random image.

    Raises:
        FileNotFoundError: There is no store.
        ValueError: A transform moves pixels, or not as it did for the features; features are
            missing; or the store is of other images.
    """

    def __init__(self, dataset: Mapping, features: str | PathLike, damaged: str = 'stop') -> None:
        require_choice(('stop', 'skip'), damaged=damaged)
        if not isinstance(dataset, Mapping):
            raise TypeError(
                f'TeacherFeatureDataset needs the config of a data set, not a {type(dataset)}: its '
                'transforms are compared with those of the store.'
            )
        self.skip_damaged = damaged == 'skip'
        self.store = FeatureStore(features)
        self.store.require(pipeline=fixed_pipeline(dataset))
        self.dataset = DATASETS.build(dataset)
        self._check_images()

    def _check_images(self) -> None:
        infos = (self.dataset.get_data_info(index) for index in range(len(self)))
        missing = self.store.missing((info['img_id'] for info in infos), self.skip_damaged)
        if missing:
            raise ValueError(
                f'{self.store.folder} lacks the features of {len(missing)} images of this data set '
                f'({", ".join(map(repr, missing[:5]))}{" ..." * (len(missing) > 5)}). Dump them '
                f'with: python tools/dump_teacher_features.py CONFIG --out {self.store.folder}'
            )
        for index in range(0, len(self), len(self) // _NUM_CHECKED or 1):
            try:
                self._feature(self.dataset.get_data_info(index))
            except DamagedFeatureError:
                if not self.skip_damaged:
                    raise

    @property
    def metainfo(self) -> dict:
        """Metainfo of the dataset."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Does nothing; MMEngine's wrappers call it."""

    def get_data_info(self, idx: int) -> dict:
        """The dataset's dict of one image."""
        return self.dataset.get_data_info(idx)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """An item of the dataset with its embedding.

        Raises:
            ValueError: The feature is damaged, or of another image.
        """
        for _ in range(_MAX_SKIPPED):
            item = self.dataset[idx]
            sample = item['data_samples']
            try:
                sample.teacher_embedding = self._feature(sample).embedding
                sample.set_metainfo(dict(teacher=self.store.metadata['teacher']))
                return item
            except DamagedFeatureError as error:
                if not self.skip_damaged:
                    raise
                warn(f'Skipped: {error}')
            idx = np.random.randint(len(self))
        raise DamagedFeatureError(
            f'{_MAX_SKIPPED} features in a row are damaged in {self.store.folder}.'
        )

    def _feature(self, image: Any) -> Feature:
        """The feature of an image, by its dict or data sample."""
        path, image_id = image.get('img_path'), image.get('img_id')
        feature = self.store.read(image_id)
        if feature.image_checksum != image_checksum(image, self.dataset):
            raise ValueError(
                f'{path} is another image {image_id!r} than the one whose feature is in '
                f'{self.store.folder}. Give the data set that the features were made of, or dump '
                'its features into another folder.'
            )
        return feature


def image_checksum(image: Any, dataset: Any) -> int:
    """CRC-32 of an image's file, which is read if the item does not have it."""
    checksum = image.get('image_checksum')
    if checksum is not None:
        return checksum
    backend_args = getattr(dataset, 'backend_args', None)
    return zlib.crc32(mmengine.fileio.get(image.get('img_path'), backend_args=backend_args))

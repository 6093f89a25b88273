"""Image features: encoded once for all prompts, cached, and saved to files."""

from __future__ import annotations

import itertools
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checkpoints import load_checkpoint_file, save_safetensors
from ..checkpoints.fingerprint import hash_of, module_fingerprint, tensor_digest
from ..datasets.transforms import ResizeLongestSide
from ..models.detectors import OVSAM
from ..models.detectors.features import ImageFeatures
from ..validation import require_at_least, require_file

FORMAT = 'mmovsam image features, version 1'


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image's features.

    Attributes:
        features: A batch of one.
        ori_shape: `(H, W)` of the image.
        img_shape: `(H, W)` of the resized image in the network's input.
        scale_factor: Factors `(w, h)` from the former to the latter.
        candidates: Masks of the latest search in this image, by its settings, see
            `mmovsam.apis.find`.
    """

    features: ImageFeatures
    ori_shape: tuple[int, int]
    img_shape: tuple[int, int]
    scale_factor: tuple[float, float]
    candidates: dict = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the features and, as an estimate, the candidates."""
        size = sum(tensor.nbytes for tensor in _to_state_dict(self.features).values())
        for candidate in itertools.chain.from_iterable(self.candidates.values()):
            size += len(candidate['segmentation']['counts']) + 1000
            size += sum(tensor.nbytes for tensor in candidate.get('regions') or ())
        return size

    @property
    def metainfo(self) -> dict:
        """The shapes and the scale factor, as in a data sample's metainfo."""
        return dict(
            ori_shape=self.ori_shape, img_shape=self.img_shape, scale_factor=self.scale_factor
        )


class ImageEncoder:
    """Encodes images with an OVSAM and caches the latest `cache_size` of them, by content.

    The weights of the model must not change.

    Raises:
        ValueError: `cache_size` is negative.
    """

    def __init__(self, model: OVSAM, cache_size: int) -> None:
        require_at_least(0, cache_size=cache_size)
        self.model = model
        self.cache_size = cache_size
        self.resize = ResizeLongestSide(model.input_size)
        self.recent: OrderedDict[str, EncodedImage] = OrderedDict()

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return next(self.model.parameters()).device

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the encoder's weights and settings."""
        model = self.model
        modules = model.backbone, model.neck, model.region_neck, model.high_res_neck
        modules += (model.data_preprocessor,)
        values = [None if module is None else module_fingerprint(module) for module in modules]
        if model.encoder_dtype is not None:
            values.append(str(model.encoder_dtype))
        return hash_of(values)

    @torch.no_grad()
    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Encode images, `(H, W, 3)` uint8 BGR of any sizes, in one batch, or take the cached."""
        resized = [self.resize(dict(img=image)) for image in images]
        keys = [self._key(results) for results in resized]
        encoded = {key: self.recent[key] for key in keys if key in self.recent}
        missing = {key: results for key, results in zip(keys, resized) if key not in encoded}
        if missing:
            encoded.update(zip(missing, self._encode(list(missing.values()))))
        for key in dict.fromkeys(keys):
            self.recent[key] = encoded[key]
            self.recent.move_to_end(key)
        while len(self.recent) > self.cache_size:
            self.recent.popitem(last=False)
        return [encoded[key] for key in keys]

    def _key(self, results: dict) -> str:
        pixels = tensor_digest(torch.from_numpy(np.ascontiguousarray(results['img'])))
        return hash_of([pixels, results['img_shape'], results['ori_img'].shape, self.device])

    def encode_tensor(self, image: Tensor, ori_shape: tuple[int, int]) -> EncodedImage:
        """Encode a resized image, `(3, h, w)` BGR; it is not cached."""
        height, width = ori_shape
        img_shape = tuple(image.shape[1:])
        scale_factor = img_shape[1] / width, img_shape[0] / height
        return EncodedImage(self._features([image]), ori_shape, img_shape, scale_factor)

    def _features(self, inputs: list[Tensor]) -> ImageFeatures:
        data = self.model.data_preprocessor(dict(inputs=inputs, data_samples=None))
        return self.model.extract_feat(data['inputs'])

    def _encode(self, resized: list[dict]) -> list[EncodedImage]:
        pixels = (np.ascontiguousarray(results['img'].transpose(2, 0, 1)) for results in resized)
        features = self._features(list(map(torch.from_numpy, pixels)))
        return [
            EncodedImage(
                # a copy: a cached image must not keep the memory of the whole batch
                features.image(index).map(torch.clone) if len(resized) > 1 else features,
                tuple(results['ori_img'].shape[:2]),
                tuple(results['img_shape'][:2]),
                tuple(results['scale_factor']),
            )
            for index, results in enumerate(resized)
        ]

    def save(self, images: Sequence[EncodedImage], path: str | PathLike) -> None:
        """Write encoded images to a safetensors file, atomically."""
        tensors = {
            f'{index}.{name}': tensor
            for index, image in enumerate(images)
            for name, tensor in _to_state_dict(image.features).items()
        }
        metadata = dict(
            format=FORMAT,
            encoder=self.fingerprint,
            sha256=_digest(tensors),
            images=json.dumps([image.metainfo for image in images]),
        )
        save_safetensors(tensors, path, metadata)

    def load(self, path: str | PathLike) -> list[EncodedImage]:
        """Read a file of `save`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is damaged, of another format, or of another model.
        """
        require_file(path, 'file of features', 'Write it with save_features.')
        if Path(path).suffix != '.safetensors':
            raise ValueError(f'Features are in a .safetensors file, {path} is none.')
        content = load_checkpoint_file(path)
        meta, tensors = content['meta'], content['state_dict']
        if meta.get('format') != FORMAT:
            raise ValueError(
                f'{path} holds no {FORMAT}, but {meta.get("format")}. Write it with save_features.'
            )
        if meta.get('encoder') != self.fingerprint:
            raise ValueError(
                f'{path} holds the features of another model, or of other weights or settings of '
                'this one. Load them with the model that made them, or encode the images again.'
            )
        try:
            if meta['sha256'] != _digest(tensors):
                raise ValueError('the checksum is another')
            return [
                EncodedImage(
                    _from_state_dict(tensors, index).map(lambda tensor: tensor.to(self.device)),
                    *(tuple(metainfo[k]) for k in ('ori_shape', 'img_shape', 'scale_factor')),
                )
                for index, metainfo in enumerate(json.loads(meta['images']))
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{path} is damaged ({error}). Encode the images again.') from None


def _to_state_dict(features: ImageFeatures) -> dict[str, Tensor]:
    tensors = {name: getattr(features, name) for name in ('embedding', 'stage4', 'inputs')}
    for name in ('region_maps', 'high_res_maps'):
        levels = enumerate(getattr(features, name))
        tensors.update((f'{name}.{level}', tensor) for level, tensor in levels)
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _from_state_dict(tensors: dict[str, Tensor], index: int) -> ImageFeatures:
    def maps(name: str) -> tuple[Tensor, ...]:
        keys = (f'{index}.{name}.{level}' for level in range(len(tensors)))
        return tuple(tensors[key] for key in keys if key in tensors)

    return ImageFeatures(
        tensors[f'{index}.embedding'],
        tensors.get(f'{index}.stage4'),
        maps('region_maps'),
        maps('high_res_maps'),
        tensors.get(f'{index}.inputs'),
    )


def _digest(tensors: dict[str, Tensor]) -> str:
    items = sorted(tensors.items())
    layout = [(name, list(tensor.shape), str(tensor.dtype)) for name, tensor in items]
    return hash_of([layout, tensor_digest(tensor for _, tensor in items)])

"""Encoded images: made once for all prompts, remembered, and kept in files."""

from __future__ import annotations

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
    """What the encoder makes of one image.

    Attributes:
        features: A batch of one.
        ori_shape: `(H, W)` of the image.
        img_shape: `(H, W)` of it in the network's input.
        scale_factor: Factors `(w, h)` from the former to the latter.
        candidates: The latest masks that were looked for in it without knowing names, by how, see
            `mmovsam.apis.find`.
    """

    features: ImageFeatures
    ori_shape: tuple[int, int]
    img_shape: tuple[int, int]
    scale_factor: tuple[float, float]
    candidates: dict = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the tensors take, and that `candidates` about take."""
        things = [thing for found in self.candidates.values() for thing in found]
        tensors = list(_named(self.features).values())
        for thing in things:
            tensors += thing.get('regions') or ()
        texts = sum(len(thing['segmentation']['counts']) + 1000 for thing in things)
        return texts + sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @property
    def metainfo(self) -> dict:
        """As data samples have it."""
        return dict(
            ori_shape=self.ori_shape, img_shape=self.img_shape, scale_factor=self.scale_factor
        )


class ImageEncoder:
    """Encodes images by an OVSAM and remembers the latest `cache_size` of them.

    An image is recognized by its content. The weights of the model are taken to stay as they are.

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
        """Where the model is."""
        return next(self.model.parameters()).device

    @cached_property
    def fingerprint(self) -> str:
        """Tells encoders apart by their weights and settings."""
        model = self.model
        parts = (model.backbone, model.neck, model.region_neck, model.high_res_neck)
        parts += (model.data_preprocessor,)
        about = [None if part is None else module_fingerprint(part) for part in parts]
        if model.encoder_dtype is not None:
            about.append(str(model.encoder_dtype))
        return hash_of(about)

    @torch.no_grad()
    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Encode images, `(H, W, 3)` uint8 BGR of any sizes.

        All are one batch but those that are remembered.
        """
        resized = [self.resize(dict(img=image)) for image in images]
        keys = [self._key(each) for each in resized]
        encoded = {key: self.recent[key] for key in keys if key in self.recent}
        missing = {key: each for key, each in zip(keys, resized) if key not in encoded}
        if missing:
            encoded.update(zip(missing, self._encode(list(missing.values()))))
        for key in dict.fromkeys(keys):
            self.recent[key] = encoded[key]
            self.recent.move_to_end(key)
        while len(self.recent) > self.cache_size:
            self.recent.popitem(last=False)
        return [encoded[key] for key in keys]

    def _key(self, resized: dict) -> str:
        content = torch.from_numpy(np.ascontiguousarray(resized['img']))
        about = [tensor_digest(content), resized['img_shape'], resized['ori_img'].shape]
        return hash_of([*about, self.device])

    def encode_tensor(self, image: Tensor, ori_shape: tuple[int, int]) -> EncodedImage:
        """Encode an image, `(3, h, w)` BGR in the network's frame; it is not remembered."""
        height, width = ori_shape
        img_shape = tuple(image.shape[1:])
        scale_factor = img_shape[1] / width, img_shape[0] / height
        return EncodedImage(self._features([image]), ori_shape, img_shape, scale_factor)

    def _features(self, inputs: list[Tensor]) -> ImageFeatures:
        data = self.model.data_preprocessor(dict(inputs=inputs, data_samples=None))
        return self.model.extract_feat(data['inputs'])

    def _encode(self, resized: list[dict]) -> list[EncodedImage]:
        features = self._features(
            [
                torch.from_numpy(np.ascontiguousarray(each['img'].transpose(2, 0, 1)))
                for each in resized
            ]
        )
        return [
            EncodedImage(
                # of its own memory: one that is remembered must not keep the others
                features.image(index).map(torch.clone) if len(resized) > 1 else features,
                tuple(each['ori_img'].shape[:2]),
                tuple(each['img_shape'][:2]),
                tuple(each['scale_factor']),
            )
            for index, each in enumerate(resized)
        ]

    def save(self, images: Sequence[EncodedImage], path: str | PathLike) -> None:
        """Write encoded images to a safetensors file, whole or not at all."""
        tensors = {
            f'{index}.{name}': tensor
            for index, image in enumerate(images)
            for name, tensor in _named(image.features).items()
        }
        metadata = dict(
            format=FORMAT,
            encoder=self.fingerprint,
            sha256=_digest(tensors),
            images=json.dumps([image.metainfo for image in images]),
        )
        save_safetensors(tensors, path, metadata)

    def load(self, path: str | PathLike) -> list[EncodedImage]:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, something else, or of another model.
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
                    _unnamed(tensors, index).map(lambda tensor: tensor.to(self.device)),
                    *(tuple(about[key]) for key in ('ori_shape', 'img_shape', 'scale_factor')),
                )
                for index, about in enumerate(json.loads(meta['images']))
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{path} is damaged ({error}). Encode the images again.') from None


def _named(features: ImageFeatures) -> dict[str, Tensor]:
    named = {'embedding': features.embedding}
    if features.stage4 is not None:
        named['stage4'] = features.stage4
    if features.inputs is not None:
        named['inputs'] = features.inputs
    for group in ('region_maps', 'high_res_maps'):
        for level, tensor in enumerate(getattr(features, group)):
            named[f'{group}.{level}'] = tensor
    return named


def _unnamed(tensors: dict[str, Tensor], index: int) -> ImageFeatures:
    def maps(group: str) -> tuple[Tensor, ...]:
        levels = (f'{index}.{group}.{level}' for level in range(len(tensors)))
        return tuple(tensors[name] for name in levels if name in tensors)

    return ImageFeatures(
        tensors[f'{index}.embedding'],
        tensors.get(f'{index}.stage4'),
        maps('region_maps'),
        maps('high_res_maps'),
        tensors.get(f'{index}.inputs'),
    )


def _digest(tensors: dict[str, Tensor]) -> str:
    named = sorted(tensors.items())
    about = [(name, list(tensor.shape), str(tensor.dtype)) for name, tensor in named]
    return hash_of([about, tensor_digest(tensor for _, tensor in named)])

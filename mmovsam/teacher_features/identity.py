"""Fingerprints that tell whether stored features are those of a live teacher."""

from __future__ import annotations

import torch
from torch import nn

from ..checkpoints.fingerprint import hash_of, tensor_digest


def weights_fingerprint(teacher: nn.Module) -> str:
    """Hexadecimal SHA-256 of a teacher's weights: names, types, shapes and bytes."""
    return hash_of(
        [
            [name, str(tensor.dtype), list(tensor.shape), tensor_digest(tensor)]
            for name, tensor in sorted(teacher.state_dict().items())
        ]
    )


@torch.no_grad()
def input_settings(data_preprocessor: nn.Module) -> dict:
    """The settings of a data preprocessor that features depend on.

    Returns:
        `image_size`, the side of the square input in pixels, and `pixel`, the normalized pixel
        (0, 128, 255).

    Raises:
        ValueError: It has `batch_augments`.
    """
    if getattr(data_preprocessor, 'batch_augments', None):
        raise ValueError(
            'The data preprocessor has batch_augments, which stored features cannot follow. Remove '
            'them, or train with a live teacher.'
        )
    # different channels tell mean, std and the order of channels
    image = torch.tensor((0, 128, 255), dtype=torch.uint8).view(3, 1, 1)
    inputs = data_preprocessor(dict(inputs=[image], data_samples=None))['inputs']
    pixel = [round(value, 4) for value in inputs[0, :, 0, 0].tolist()]
    return dict(image_size=inputs.shape[-1], pixel=pixel)

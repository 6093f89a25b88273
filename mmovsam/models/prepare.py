"""A model arranged for inference."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from open_clip.modified_resnet import Bottleneck
from torch import nn

from ..checkpoints.fingerprint import tensor_digest
from ..layers import MLPBlock
from ..layers.mask_decoder import as_linear
from ..layers.packed import (
    InferenceConvTranspose2d,
    InferenceLayer,
    InferenceLinear,
    inference_conv2d,
)
from .backbones import OpenCLIPBackbone, TimmBackbone
from .backbones.clip_towers import ResNetTower
from .backbones.sam_image_encoder import PatchEmbed
from .detectors import OVSAM

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)


@torch.no_grad()
def prepare_for_inference(model: OVSAM, dtype: torch.dtype = torch.float32) -> OVSAM:
    """Make an OVSAM faster, for good or until weights are loaded into it.

    Batch norms are folded into the convolutions before them, activations are fused, and weights
    are packed as the CPU's kernels read them; this changes results by rounding only. Nothing is
    written: checkpoints stay as they are. A prepared model cannot train, and refuses to be saved,
    as its weights are no longer those of its config. `load_state_dict` with all weights undoes it.

    Args:
        model: In eval mode, on the device where it will run; changed in place.
        dtype: Precision of the encoder: `torch.float32`, or for more speed `torch.bfloat16` where
            the machine has it (`torch.float16` on GPUs). Features, prompts, masks and the
            comparison with names stay in float32.

    Returns:
        The model.

    Raises:
        TypeError: It is no OVSAM, or the precision is no such type.
        ValueError: It is in training mode, was prepared already, or is not in float32.
    """
    if not isinstance(model, OVSAM):
        raise TypeError(f'prepare_for_inference needs an OVSAM, not a {type(model).__name__}.')
    if dtype not in PRECISIONS:
        raise TypeError(f'dtype is {dtype}; choose one of {", ".join(map(str, PRECISIONS))}.')
    if model.training:
        raise ValueError('The model is in training mode: call model.eval() first.')
    if any(isinstance(module, InferenceLayer) for module in model.modules()):
        raise ValueError('The model was prepared already. Load its weights again to undo that.')
    kinds = {p.dtype for p in model.parameters()}
    if kinds != {torch.float32}:
        raise ValueError(f'The model is in {kinds}: prepare it in float32, and give the dtype.')

    encoder = [part for part in (model.backbone, model.neck, model.region_neck) if part is not None]
    replacements = [_replacements(part, dtype) for part in encoder]
    if not model.head.mask_decoder.high_resolution:
        replacements.append(_upscaling(model.head.mask_decoder.output_upscaling))
    originals = []
    for parent, name, layer in list(chain(*replacements)):
        originals.append((parent, name, getattr(parent, name).to('meta')))
        setattr(parent, name, layer)
    model.feature_dtype = torch.float32
    _guard(model, originals, next(model.parameters()).device)
    return model


Replacement = tuple[nn.Module, str, nn.Module]
"""A module, the name of a layer in it, and what takes that layer's place."""


def _replacements(part: nn.Module, dtype: torch.dtype) -> Iterator[Replacement]:
    """The layers of one part of an encoder that have a faster form."""
    if isinstance(part, OpenCLIPBackbone):
        if isinstance(part.tower, ResNetTower):
            yield from _resnet(part.visual, dtype)
        return
    if isinstance(part, TimmBackbone):
        return
    for name, module in part.named_modules():
        if isinstance(module, PatchEmbed):
            continue
        # The last convolutions are few, and norms between them are in float32.
        own = torch.float32 if name.split('.')[0] == 'neck' else dtype
        for child, layer in module.named_children():
            digest = tensor_digest(layer.parameters()) if type(layer) in _KINDS else ''
            if type(layer) is nn.Conv2d:
                yield module, child, inference_conv2d(layer, own, digest=digest)
            elif type(layer) is nn.ConvTranspose2d:
                yield module, child, InferenceConvTranspose2d(layer, own, digest=digest)
            elif type(layer) is nn.Linear:
                fused = child == 'lin1' and isinstance(module, MLPBlock)
                fused = 'gelu' if fused and type(module.act) is nn.GELU else 'none'
                yield module, child, InferenceLinear(layer.weight, layer.bias, own, fused, digest)
                if fused == 'gelu':
                    yield module, 'act', nn.Identity()


def _upscaling(layers: nn.Sequential) -> Iterator[Replacement]:
    """The decoder's last layers, in float32: masks are their signs."""
    for index, activation in ((0, 'none'), (3, 'gelu')):
        digest = tensor_digest(layers[index].parameters())
        weights = as_linear(layers[index])
        yield layers, str(index), InferenceLinear(*weights, torch.float32, activation, digest)
    yield layers, '4', nn.Identity()


def _resnet(visual: nn.Module, dtype: torch.dtype) -> Iterator[Replacement]:
    """Convolutions of CLIP's ResNet with the norm and, where it comes next, the ReLU after them."""
    for module in visual.modules():
        names = [(f'conv{i}', f'bn{i}', f'act{i}') for i in (1, 2, 3) if hasattr(module, f'bn{i}')]
        if isinstance(module, Bottleneck):
            names[2] = ('conv3', 'bn3', None)  # the block's input is added first
            if module.downsample is not None:
                yield from _fused(module.downsample, '0', '1', None, dtype)
        for conv, norm, act in names:
            yield from _fused(module, conv, norm, act, dtype)


def _fused(
    parent: nn.Module, conv: str, norm: str, act: str | None, dtype: torch.dtype
) -> Iterator[Replacement]:
    layers = getattr(parent, conv), getattr(parent, norm)
    digest = tensor_digest(tensor for layer in layers for tensor in layer.state_dict().values())
    activation = 'relu' if act else 'none'
    yield parent, conv, inference_conv2d(layers[0], dtype, activation, digest, layers[1])
    yield parent, norm, nn.Identity()
    if act:
        yield parent, act, nn.Identity()


_KINDS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def _guard(model: OVSAM, originals: list[Replacement], device: torch.device) -> None:
    """Refuse to save a prepared model, and undo the preparation when weights are loaded."""

    def refuse(*_) -> None:
        raise RuntimeError(
            'This model was prepared for inference and has not the weights of its config. Save it '
            'before it is prepared, or load its weights again, which undoes the preparation.'
        )

    def undo(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
        names = {id(part): name for name, part in module.named_modules()}
        missing = [
            f'{names[id(parent)]}.{name}.{key}'
            for parent, name, layer in originals
            for key in layer.state_dict()
            if f'{prefix}{names[id(parent)]}.{name}.{key}' not in state_dict
        ]
        missing = [name for name in missing if not name.endswith('num_batches_tracked')]
        if missing:
            raise ValueError(
                f'{len(missing)} weights of the prepared layers are not in what is loaded '
                f'({missing[0]}, ...). Give all weights of the model, or build it again.'
            )
        for parent, name, layer in originals:
            setattr(parent, name, layer.to_empty(device=device))
        module.feature_dtype = None
        for handle in handles:
            handle.remove()

    handles = (
        model.register_state_dict_pre_hook(refuse),
        model._register_load_state_dict_pre_hook(undo, with_module=True),
    )

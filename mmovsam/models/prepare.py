"""Optimize a model for inference."""

from __future__ import annotations

import torch

from ..layers.derived import Derived
from .detectors import OVSAM

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)


@torch.no_grad()
def prepare_for_inference(
    model: OVSAM, dtype: torch.dtype = torch.float32, compile: bool = False
) -> OVSAM:
    """Make an OVSAM faster, for good: to train it or to load other weights, build it again.

    Batch norms of CLIP's ResNets and of EfficientNets are folded into convolutions, tensors that
    other modules derive from their weights are kept, weights become channels-last, and the encoder
    runs under autocast where half precision is asked for. In float32 this changes results by
    rounding only. A prepared model cannot train, be saved or load weights, which are no longer
    those of its config.

    Args:
        model: In eval mode; changed in place.
        dtype: Precision of the encoder: `torch.float32`, or for more speed `torch.bfloat16` where
            the machine has it (`torch.float16` on GPUs). Features, prompts, masks and the
            comparison with names stay in float32.
        compile: Whether to `torch.compile` the encoder and, on a GPU, `OVSAM.recognize` for any
            number of prompts. The first images then take minutes. A CPU needs a C++ compiler, a GPU
            Triton and a torchvision with operators.

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
    if model.encoder_dtype is not None:
        raise ValueError('The model was prepared already. Build it again to prepare it otherwise.')
    kinds = {p.dtype for p in model.parameters()}
    if kinds != {torch.float32}:
        raise ValueError(f'The model is in {kinds}: prepare it in float32, and give the dtype.')

    if hasattr(model.backbone, 'fold_batch_norms'):
        model.backbone.fold_batch_norms()
    for module in (model.backbone, model.neck, model.region_neck, model.high_res_neck):
        if module is not None:
            module.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, Derived):
            module.keep_derived()
    model.encoder_dtype = dtype
    if compile:
        model.extract_feat = torch.compile(model.extract_feat)
        if next(model.parameters()).device.type != 'cpu':  # on a CPU it branches on the prompts
            model.sorted_prompts = torch.compiler.disable(model.sorted_prompts)
            model.recognize = torch.compile(model.recognize, dynamic=True)
    model.register_state_dict_pre_hook(_refuse)
    model._register_load_state_dict_pre_hook(_refuse)
    return model


def _refuse(*_) -> None:
    raise RuntimeError(
        'This model was prepared for inference and has not the weights of its config, so none can '
        'be saved or loaded. Build it again from its config.'
    )

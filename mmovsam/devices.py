"""Devices and precisions."""

from __future__ import annotations

import torch

from .validation import require_choice

PRECISIONS = ('float32', 'bfloat16', 'float16', 'auto')


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """An available device; for None or `'auto'` CUDA's GPU if there is one, else the CPU.

    Apple's GPUs, which lack some operations of the models, are never chosen.

    Raises:
        ValueError: There is no such device.
    """
    if name is None or name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f'{name!r} is no device: give cpu, cuda, or cuda:1 for one GPU.'
        ) from error
    if device.type == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ValueError(
                f'There is no {name}: PyTorch {torch.__version__} finds {count} GPUs. Use cpu, or '
                'install a PyTorch with CUDA (https://pytorch.org/get-started).'
            )
    if device.type == 'mps' and not torch.backends.mps.is_available():
        raise ValueError(f'There is no {name}: PyTorch finds no GPU of Apple. Use cpu.')
    return device


def half_precision(device: torch.device) -> torch.dtype:
    """bfloat16 if the device supports it, else float16."""
    if device.type == 'cuda' and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


def allow_tf32() -> None:
    """Allow TF32 in matrix products and convolutions throughout this process."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


def precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a name in `PRECISIONS`; `'auto'` is half precision on a GPU, else float32.

    Raises:
        ValueError: There is no such precision.
    """
    require_choice(PRECISIONS, dtype=name)
    if name == 'auto':
        return half_precision(device) if device.type == 'cuda' else torch.float32
    return getattr(torch, name)


def describe_device(device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """A log line about a model's device and the precision of its encoder."""
    if device.type == 'cuda':
        name = f'{device} ({torch.cuda.get_device_name(device)})'
    elif device.type == 'cpu':
        name = f'cpu ({torch.get_num_threads()} threads)'
        if torch.backends.mps.is_available():
            name += '; the GPU of Apple is not used: some operations do not exist there'
    else:
        name = str(device)
    return f'Device: {name}, {str(dtype).removeprefix("torch.")}'

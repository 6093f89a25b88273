"""Checks that a checkpoint fits a model, and that all weights of a model come from a file."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .loading import safe_loading, state_dict_of

# keys of a model's config without weights in `init_cfg`
_WEIGHTLESS = ('data_preprocessor', 'classifier', 'prompter', 'init_cfg')


def check_fit(model: nn.Module, checkpoint: dict, strict: bool = False) -> None:
    """Raise a `ValueError` if a checkpoint is not of a model, where MMEngine would only log it.

    That is, if shapes differ, values are NaN, or no name matches; with `strict`, for a model that
    is not trained further, also if any of its weights is missing. Additional names in the
    checkpoint are allowed.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tensors = state_dict_of(checkpoint)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    common = [name for name in shapes if name in expected]
    differing = [name for name in common if shapes[name] != expected[name]]
    missing = [n for n in expected if n not in shapes and not n.endswith('num_batches_tracked')]
    remedy = 'Was the checkpoint made with another config?'
    if not common:
        raise ValueError(
            f'Nothing in the checkpoint belongs to this model: it holds {_some(shapes)}, the '
            f'model has {_some(expected)}. {remedy}'
        )
    if differing:
        lines = [f'{n}: {shapes[n]} in the file, {expected[n]} in the model' for n in differing]
        raise ValueError(
            f'{len(differing)} tensors of the checkpoint have another shape than in this '
            f'model ({"; ".join(lines[:3])}). {remedy}'
        )
    with_nan = [name for name in common if tensors[name].isnan().any()]
    if with_nan:
        raise ValueError(
            f'{len(with_nan)} tensors of the checkpoint hold NaN ({_some(with_nan)}): the training '
            'that made it had diverged. Take an earlier one.'
        )
    if strict and missing:
        raise ValueError(
            f'{len(missing)} of the {len(expected)} tensors of this model are not in the '
            f'checkpoint ({_some(missing)}), and it would run with random ones. {remedy}'
        )


def names_all_weights(model_cfg: Mapping) -> bool:
    """Whether a model, or each of its submodules, has `init_cfg=dict(type='Pretrained', ...)`."""
    init_cfg = model_cfg.get('init_cfg')
    if isinstance(init_cfg, Mapping) and init_cfg.get('type') == 'Pretrained':
        return True
    submodules = [
        cfg
        for key, cfg in model_cfg.items()
        if isinstance(cfg, Mapping) and 'type' in cfg and key not in _WEIGHTLESS
    ]
    return bool(submodules) and all(map(names_all_weights, submodules))


def load_initial_weights(model: nn.Module) -> None:
    """Load the files of `init_cfg`, and make sure that no weight stays random.

    MMEngine alone would only log what does not fit.

    Raises:
        ValueError: A weight is in none of the files, or has another shape there.
        FileNotFoundError: A file does not exist.
    """
    module_names = {module: name for name, module in model.named_modules()}
    loaded = set()

    def record_loaded(module, state_dict, prefix, *_) -> None:
        tensors = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, expected in tensors:
            tensor = state_dict.get(prefix + name)
            if tensor is not None and tensor.shape == expected.shape:
                loaded.add(f'{module_names[module]}.{name}'.lstrip('.'))

    # without underscore in newer versions of torch
    hooks = [
        module._register_load_state_dict_pre_hook(record_loaded, with_module=True)
        for module in module_names
    ]
    try:
        with safe_loading():
            model.init_weights()
    finally:
        for hook in hooks:
            hook.remove()
    expected = [key for key in model.state_dict() if not key.endswith('num_batches_tracked')]
    missing = [key for key in expected if key not in loaded]
    if missing:
        raise ValueError(
            f'{len(missing)} of the {len(expected)} tensors of this model are in none of the files '
            f'that its init_cfg names, or have another shape there ({_some(missing)}), and it '
            'would run with random ones. Give a checkpoint, or correct the files.'
        )


def _some(names) -> str:
    names = list(names)
    return ', '.join(names[:3]) + (' ...' if len(names) > 3 else '')

"""Models that have no checkpoint of their own: all weights come from the files of `init_cfg`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .loading import safe_loading

WEIGHTLESS = ('data_preprocessor', 'classifier', 'prompter', 'init_cfg')
"""Parts of a model that have no weights, or fetch them by themselves."""


def names_all_weights(model_cfg: Mapping) -> bool:
    """Whether each part of a model's config names the file of its weights.

    Args:
        model_cfg: With `type`, parts that have a `type` themselves, and `init_cfg`.

    Returns:
        True if the model, or all of its parts, have `init_cfg=dict(type='Pretrained', ...)`.
    """
    init_cfg = model_cfg.get('init_cfg')
    if isinstance(init_cfg, Mapping) and init_cfg.get('type') == 'Pretrained':
        return True
    parts = [
        part
        for key, part in model_cfg.items()
        if isinstance(part, Mapping) and 'type' in part and key not in WEIGHTLESS
    ]
    return bool(parts) and all(names_all_weights(part) for part in parts)


def load_initial_weights(model: nn.Module) -> None:
    """Load the files that `init_cfg` names, and make sure that nothing of the model stays random.

    MMEngine alone would only log what does not fit.

    Args:
        model: With MMEngine's `init_weights`.

    Raises:
        ValueError: A weight is in none of the files, or has another shape there.
        FileNotFoundError: A file does not exist.
    """
    names = {module: path for path, module in model.named_modules()}
    loaded = set()

    def note(module, state_dict, prefix, *_) -> None:
        tensors = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, value in tensors:
            found = state_dict.get(prefix + name)
            if found is not None and found.shape == value.shape:
                loaded.add(f'{names[module]}.{name}'.lstrip('.'))

    # the public name of this is younger than the oldest torch that we support
    hooks = [m._register_load_state_dict_pre_hook(note, with_module=True) for m in names]
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
            f'that its init_cfg names, or have another shape there ({", ".join(missing[:3])}), and '
            'it would run with random ones. Give a checkpoint, or correct the files.'
        )

"""Whether a checkpoint belongs to a model, and whether all weights of a model have a file."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .loading import safe_loading, state_dict_of

# Parts of a model that have no weights, or fetch them by themselves
_WEIGHTLESS = ('data_preprocessor', 'classifier', 'prompter', 'init_cfg')


def check_fit(model: nn.Module, checkpoint: dict, whole: bool = False) -> None:
    """Make sure that a checkpoint is of a model; PyTorch and MMEngine would go on without it.

    Names that only the file has are no fault. Those that only the model has are none while it
    will be trained (a new head on a pretrained backbone), unless no name is common.

    With `whole` the model is used as it is, so that each of its weights has to be there.

    Raises:
        ValueError: Shapes differ, values are NaN, nothing matches, or something is missing.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    tensors = state_dict_of(checkpoint)
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    common = [name for name in found if name in expected]
    differing = [name for name in common if found[name] != expected[name]]
    missing = [n for n in expected if n not in found and not n.endswith('num_batches_tracked')]
    remedy = 'Was the checkpoint made with another config?'
    if not common:
        raise ValueError(
            f'Nothing in the checkpoint belongs to this model: it holds {_some(found)}, the '
            f'model has {_some(expected)}. {remedy}'
        )
    if differing:
        lines = [f'{n}: {found[n]} in the file, {expected[n]} in the model' for n in differing]
        raise ValueError(
            f'{len(differing)} tensors of the checkpoint have another shape than in this '
            f'model ({"; ".join(lines[:3])}). {remedy}'
        )
    broken = [name for name in common if tensors[name].isnan().any()]
    if broken:
        raise ValueError(
            f'{len(broken)} tensors of the checkpoint hold NaN ({_some(broken)}): the training '
            'that made it had diverged. Take an earlier one.'
        )
    if whole and missing:
        raise ValueError(
            f'{len(missing)} of the {len(expected)} tensors of this model are not in the '
            f'checkpoint ({_some(missing)}), and it would run with random ones. {remedy}'
        )


def names_all_weights(model_cfg: Mapping) -> bool:
    """Whether a model's config, or each part of it with a `type`, names the file of its weights.

    That is, whether it has `init_cfg=dict(type='Pretrained', ...)`.
    """
    init_cfg = model_cfg.get('init_cfg')
    if isinstance(init_cfg, Mapping) and init_cfg.get('type') == 'Pretrained':
        return True
    parts = [
        part
        for key, part in model_cfg.items()
        if isinstance(part, Mapping) and 'type' in part and key not in _WEIGHTLESS
    ]
    return bool(parts) and all(names_all_weights(part) for part in parts)


def load_initial_weights(model: nn.Module) -> None:
    """Load the files that `init_cfg` names, and make sure that nothing of the model stays random.

    MMEngine alone would only log what does not fit.

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
            f'that its init_cfg names, or have another shape there ({_some(missing)}), and it '
            'would run with random ones. Give a checkpoint, or correct the files.'
        )


def _some(names) -> str:
    names = list(names)
    return ', '.join(names[:3]) + (' ...' if len(names) > 3 else '')

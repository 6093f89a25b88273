"""Whether a checkpoint belongs to a model."""

from torch import nn

from .loading import state_dict_of


def check_fit(model: nn.Module, checkpoint: dict, whole: bool = False) -> None:
    """Make sure that a checkpoint is of a model; PyTorch and MMEngine would go on without it.

    Names that only the file has are no fault. Those that only the model has are none while it
    will be trained (a new head on a pretrained backbone), unless no name is common.

    Args:
        model: Where the weights will go.
        checkpoint: What `load_checkpoint_file` returned.
        whole: Whether the model is used as it is, so that each of its weights has to be there.

    Raises:
        ValueError: Shapes differ, nothing matches, or something is missing.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state_dict_of(checkpoint).items()}
    common = [name for name in found if name in expected]
    remedy = 'Was the checkpoint made with another config?'
    if not common:
        raise ValueError(
            f'Nothing in the checkpoint belongs to this model: it holds {_some(found)}, the '
            f'model has {_some(expected)}. {remedy}'
        )
    differing = [name for name in common if found[name] != expected[name]]
    if differing:
        lines = [f'{n}: {found[n]} in the file, {expected[n]} in the model' for n in differing]
        raise ValueError(
            f'{len(differing)} tensors of the checkpoint have another shape than in this '
            f'model ({"; ".join(lines[:3])}). {remedy}'
        )
    missing = [n for n in expected if n not in found and not n.endswith('num_batches_tracked')]
    if whole and missing:
        raise ValueError(
            f'{len(missing)} of the {len(expected)} tensors of this model are not in the '
            f'checkpoint ({_some(missing)}), and it would run with random ones. {remedy}'
        )


def _some(names) -> str:
    names = list(names)
    return ', '.join(names[:3]) + (' ...' if len(names) > 3 else '')

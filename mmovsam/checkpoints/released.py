"""Names of parameters: those of the released OVSAM files, and those of this package."""

from collections.abc import Mapping

# released, ours; the first that fits decides
PREFIXES = (
    ('clip.visual.', 'backbone.visual.'),
    ('neck_student.', 'neck.'),
    ('fpn_neck.', 'region_neck.'),
    ('mask_decoder.roi_conv.0.conv.', 'head.roi_conv.'),
    ('mask_decoder.mask_decoder.', 'head.mask_decoder.'),
    ('mask_decoder.label_token.', 'head.label_token.'),
    ('mask_decoder.label_mlp.', 'head.label_mlp.'),
    ('prompt_encoder.', 'prompt_encoder.'),
)


def from_released(state_dict: Mapping) -> dict:
    """The parameters of `OVSAM` out of a released checkpoint.

    Args:
        state_dict: Tensors by their names in `sam2clip_*.pth` or `clip2sam_*.pth`; CLIP's tower is
            expected under `clip.visual.`, and the rest of `clip.`, its text tower, is left out.

    Returns:
        The same tensors by the names of `OVSAM.state_dict()`.

    Raises:
        ValueError: A name belongs to no released checkpoint.
    """
    kept = {k: v for k, v in state_dict.items() if not _is_text_tower(k)}
    return _renamed(kept, PREFIXES, 'a released OVSAM checkpoint')


def to_released(state_dict: Mapping) -> dict:
    """The inverse of `from_released`.

    Args:
        state_dict: Tensors by the names of `OVSAM.state_dict()`.

    Returns:
        The same tensors by the names of the released checkpoints.

    Raises:
        ValueError: A name belongs to no `OVSAM`.
    """
    return _renamed(state_dict, [(ours, released) for released, ours in PREFIXES], 'OVSAM')


def _is_text_tower(name: str) -> bool:
    return name.startswith('clip.') and not name.startswith('clip.visual.')


def _renamed(state_dict: Mapping, prefixes, owner: str) -> dict:
    renamed = {}
    for name, value in state_dict.items():
        for old, new in prefixes:
            if name.startswith(old):
                renamed[new + name[len(old) :]] = value
                break
        else:
            starts = ', '.join(f'{old}*' for old, _ in prefixes)
            raise ValueError(f'{name!r} is no parameter of {owner}, which has {starts}.')
    return renamed

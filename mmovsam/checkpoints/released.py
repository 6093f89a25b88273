"""Names of parameters: those of other people's files, and those of this package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SAM = (
    ('image_encoder.', 'backbone.'),
    ('prompt_encoder.', 'prompt_encoder.'),
    ('mask_decoder.', 'head.mask_decoder.'),
)
SAM2CLIP = (('neck_student.', 'neck.'),)
CLIP2SAM = (
    ('fpn_neck.', 'region_neck.'),
    ('mask_decoder.roi_conv.0.conv.', 'head.roi_conv.'),
    ('mask_decoder.mask_decoder.', 'head.mask_decoder.'),
    ('mask_decoder.label_token.', 'head.label_token.'),
    ('mask_decoder.label_mlp.', 'head.label_mlp.'),
)
FORMATS = {
    'clip': (('visual.', 'backbone.visual.'), ('visual.', 'clip.visual.')),
    'sam': (
        ('image_encoder.', 'teacher.'),
        *((theirs, f'{sam}{ours}') for sam in ('', 'sam.') for theirs, ours in SAM),
    ),
    'sam2clip': SAM2CLIP,
    'clip2sam': CLIP2SAM,
}
"""Prefixes of each format of files: in the file, and in our models."""

# released, ours; the first that fits decides
PREFIXES = (
    ('clip.visual.', 'backbone.visual.'),
    *SAM2CLIP,
    *CLIP2SAM,
    ('prompt_encoder.', 'prompt_encoder.'),
)


def locate(name: str, decoder_of: str) -> tuple[str, str] | None:
    """Which format of files holds a parameter, and under which name.

    Args:
        name: Of one of our models.
        decoder_of: `'sam'` or `'clip2sam'`: the format that holds the mask decoder, which both
            know.

    Returns:
        A key of `FORMATS` and the name there, or None for a parameter that no format holds.
    """
    places = [
        (len(ours), key == decoder_of, key, theirs + name[len(ours) :])
        for key, prefixes in FORMATS.items()
        for theirs, ours in prefixes
        if name.startswith(ours)
    ]
    return max(places)[2:] if places else None


def format_of(names: Iterable[str]) -> str | None:
    """The format of a file that holds these names, None for an unknown one."""
    names = list(names)
    for key in ('clip', 'sam2clip', 'clip2sam', 'sam'):  # a part of clip2sam's names fits sam too
        if any(name.startswith(theirs) for theirs, _ in FORMATS[key] for name in names):
            return key
    return None


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

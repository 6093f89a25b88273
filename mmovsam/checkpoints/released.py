"""Names of parameters: those of other people's files, and those of this package."""

from __future__ import annotations

from collections.abc import Iterable

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
        *(
            (file_prefix, f'{sam}{model_prefix}')
            for sam in ('', 'sam.')
            for file_prefix, model_prefix in SAM
        ),
    ),
    'sam2clip': SAM2CLIP,
    'clip2sam': CLIP2SAM,
}
"""Prefixes of each format of files: in the file, and in our models."""


def locate(name: str, decoder_of: str) -> tuple[str, str] | None:
    """Which format of files holds a parameter of our models, and its name there; None for others.

    `decoder_of` is the format that holds the mask decoder, which both `'sam'` and `'clip2sam'`
    know.
    """
    places = [
        (len(model_prefix), key == decoder_of, key, file_prefix + name[len(model_prefix) :])
        for key, prefixes in FORMATS.items()
        for file_prefix, model_prefix in prefixes
        if name.startswith(model_prefix)
    ]
    return max(places)[2:] if places else None


def format_of(names: Iterable[str]) -> str | None:
    """The format of a file that holds these names, None for an unknown one."""
    names = list(names)
    for key in ('clip', 'sam2clip', 'clip2sam', 'sam'):  # a part of clip2sam's names fits sam too
        if any(name.startswith(file_prefix) for file_prefix, _ in FORMATS[key] for name in names):
            return key
    return None

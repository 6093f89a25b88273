"""Names of parameters in released files and in our models."""

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
"""Prefixes of names by format of file: in the file, and in our models."""


def locate(name: str, decoder_of: str) -> tuple[str, str] | None:
    """The format that holds a parameter of our models, and its name there; None if none does.

    `decoder_of`, `'sam'` or `'clip2sam'`, decides which of them gives the mask decoder.
    """
    matches = [
        (len(model_prefix), key == decoder_of, key, file_prefix + name[len(model_prefix) :])
        for key, prefixes in FORMATS.items()
        for file_prefix, model_prefix in prefixes
        if name.startswith(model_prefix)
    ]
    return max(matches)[2:] if matches else None


def format_of(names: Iterable[str]) -> str | None:
    """The format of a file with these names, None if unknown."""
    names = list(names)
    for key in ('clip', 'sam2clip', 'clip2sam', 'sam'):  # some of clip2sam's names fit sam too
        if any(name.startswith(file_prefix) for file_prefix, _ in FORMATS[key] for name in names):
            return key
    return None

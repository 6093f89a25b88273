"""Sentences that a name is put into before CLIP reads it; `{}` is where the name goes."""

_SIZES = ('small', 'medium', 'large')

# The templates and their order are those of OVSAM's released text classifiers. Some end in a full
# stop and some do not: that is part of what the text tower was given.
OVSAM_TEMPLATES = (
    'a photo of a {}.',
    'This is a photo of a {}',
    'There is a {} in the scene',
    'There is the {} in the scene',
    'a photo of a {} in the scene',
    *(f'a photo of a {size} {{}}.' for size in _SIZES),
    *(f'This is a photo of a {size} {{}}.' for size in _SIZES),
    *(f'There is a {size} {{}} in the scene.' for size in _SIZES),
)

SIMPLE_TEMPLATES = ('a photo of a {}.',)

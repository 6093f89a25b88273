"""The small world of drawn scenes: its classes and its dataset."""

from itertools import product

from mmdet.registry import DATASETS

from .ov_lvis import OVLVISDataset

PATTERNS = ('plain', 'striped', 'dotted', 'checked')
COLORS = ('red', 'orange', 'yellow', 'green', 'blue', 'purple', 'white', 'black')
SHAPES = (
    'circle', 'square', 'triangle', 'star', 'cross',
    'ring', 'heart', 'crescent', 'hexagon', 'arrow',
    'digit zero', 'digit one', 'digit two', 'digit three', 'digit four',
    'digit five', 'digit six', 'digit seven', 'digit eight', 'digit nine',
)  # fmt: skip


@DATASETS.register_module()
class MiniWorldDataset(OVLVISDataset):
    """Scenes of the small world, which `dev/make_mini_world.py` draws, in LVIS's format.

    Arguments are those of `OpenVocabDataset`.
    """

    REMEDY = (
        'Small world: in a checkout of mmovsam, python dev/make_mini_world.py draws it into '
        'data/mini_world, or into a folder that is its argument.'
    )
    METAINFO = dict(classes=tuple(map(' '.join, product(PATTERNS, COLORS, SHAPES))))

"""The categories of the small world: every color in every pattern and every shape."""

from dataclasses import dataclass
from itertools import product

from mmovsam.datasets.mini_world import COLORS, PATTERNS, SHAPES

DRAWN_SHAPES = SHAPES[:10]  # the rest are handwritten digits


@dataclass(frozen=True)
class Category:
    """A category: its id in annotation files, from 1, and indices of its three attributes."""

    id: int
    pattern: int
    color: int
    shape: int

    @property
    def name(self):
        """Plain English, for example `'striped red star'`."""
        return f'{PATTERNS[self.pattern]} {COLORS[self.color]} {SHAPES[self.shape]}'

    @property
    def is_digit(self):
        """Whether the shape is a handwritten digit."""
        return self.shape >= len(DRAWN_SHAPES)

    @property
    def novel(self):
        """Whether the category never has a label in training.

        A fixed rule of all three attributes, by which every pair of attributes occurs in base
        categories.
        """
        return (self.color + 2 * self.pattern + self.shape) % 5 == 0

    @property
    def frequency(self):
        """LVIS's letter: `'r'` for novel categories, else `'c'` or `'f'`."""
        if self.novel:
            return 'r'
        return 'f' if (self.color + self.pattern + self.shape) % 2 else 'c'


CATEGORIES = tuple(
    Category(number, *indices)
    for number, indices in enumerate(product(*map(range, map(len, (PATTERNS, COLORS, SHAPES)))), 1)
)

"""A small world of drawn scenes: categories, drawing, files."""

from .categories import CATEGORIES, COLORS, PATTERNS, SHAPES, Category
from .pictures import draw_picture
from .scenes import SPLITS, Scene, draw_scene
from .writer import write_pictures, write_split

__all__ = [
    'CATEGORIES',
    'COLORS',
    'PATTERNS',
    'SHAPES',
    'SPLITS',
    'Category',
    'Scene',
    'draw_picture',
    'draw_scene',
    'write_pictures',
    'write_split',
]

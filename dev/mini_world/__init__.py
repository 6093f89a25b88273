"""A small world of drawn scenes: categories, drawing, files."""

from .categories import CATEGORIES, Category
from .clips import draw_clip, draw_mosaic
from .pictures import draw_picture
from .scenes import SPLITS, Scene, draw_scene
from .writer import write_pictures, write_split

__all__ = [
    'CATEGORIES',
    'SPLITS',
    'Category',
    'Scene',
    'draw_clip',
    'draw_mosaic',
    'draw_picture',
    'draw_scene',
    'write_pictures',
    'write_split',
]

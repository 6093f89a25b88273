"""Datasets: the small world, LVIS, COCO and SA-1B."""

from . import transforms
from .files import check_files, config_files, dataset_files
from .mini_world_pictures import MiniWorldPictures
from .open_vocab import OpenVocabDataset
from .ov_coco import OVCocoDataset
from .ov_lvis import MiniWorldDataset, OVLVISDataset
from .sa1b import SA1BDataset

__all__ = [
    'MiniWorldDataset',
    'MiniWorldPictures',
    'OVCocoDataset',
    'OVLVISDataset',
    'OpenVocabDataset',
    'SA1BDataset',
    'check_files',
    'config_files',
    'dataset_files',
    'transforms',
]

"""Datasets: the small world, LVIS, COCO, SA-1B, and data of one's own."""

from . import transforms
from .coco_json import CocoJsonDataset
from .files import check_files, config_files, dataset_files
from .label_map import LabelMapDataset
from .mini_world_pictures import MiniWorldPictures
from .open_vocab import OpenVocabDataset
from .ov_coco import OVCocoDataset
from .ov_lvis import MiniWorldDataset, OVLVISDataset
from .sa1b import SA1BDataset
from .teacher_feature_dataset import TeacherFeatureDataset

__all__ = [
    'CocoJsonDataset',
    'LabelMapDataset',
    'MiniWorldDataset',
    'MiniWorldPictures',
    'OVCocoDataset',
    'OVLVISDataset',
    'OpenVocabDataset',
    'SA1BDataset',
    'TeacherFeatureDataset',
    'check_files',
    'config_files',
    'dataset_files',
    'transforms',
]

"""Datasets: the small world, LVIS, COCO, SA-1B, custom data, and mixtures of them."""

from . import samplers, transforms
from .files import check_files, config_files, dataset_files
from .image_label import ImageLabelDataset
from .label_map import LabelMapDataset
from .mini_world import MiniWorldDataset
from .mixed import MixedDataset
from .open_vocab import OpenVocabDataset
from .ov_coco import CocoJsonDataset, OVCocoDataset
from .ov_lvis import OVLVISDataset
from .sa1b import SA1BDataset
from .teacher_feature_dataset import TeacherFeatureDataset

__all__ = [
    'CocoJsonDataset',
    'ImageLabelDataset',
    'LabelMapDataset',
    'MiniWorldDataset',
    'MixedDataset',
    'OVCocoDataset',
    'OVLVISDataset',
    'OpenVocabDataset',
    'SA1BDataset',
    'TeacherFeatureDataset',
    'check_files',
    'config_files',
    'dataset_files',
    'samplers',
    'transforms',
]

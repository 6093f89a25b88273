"""Trainings on several kinds of data, and what every training has."""

from pathlib import Path

import numpy as np
from mini_world import CATEGORIES
from mini_world.writer import HELD_OUT
from mmdet.registry import DATASETS
from mmengine.config import Config

from mmovsam.datasets import config_files
from mmovsam.datasets.mini_world import SHAPES
from mmovsam.vocabulary import novel_flags
from mmovsam.vocabulary.sources import read_metainfo

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def read(name):
    return Config.fromfile(CONFIGS / name)


def test_22k_joins_by_hand_classes_that_its_data_sets_have():
    same = read('ovsam_22k.py').train_dataloader.dataset.same
    coco, lvis = (
        DATASETS.get(kind).METAINFO['classes'] for kind in ('CocoDataset', 'LVISV1Dataset')
    )
    assert set(same.coco) <= set(coco) and set(same.coco.values()) <= set(lvis)
    assert set(same.imagenet) <= set(read_metainfo('imagenet22k')['classes'])
    in_coco = {same.coco.get(name, name) for name in coco}
    assert set(same.imagenet.values()) <= in_coco


def test_22k_never_cuts_an_image_whose_label_is_of_the_whole():
    cfg = read('ovsam_22k.py')
    lvis, coco, imagenet = cfg.train_dataloader.dataset.datasets
    assert lvis.base_only and lvis.ann_file != coco.ann_file
    assert 'data/coco/annotations/instances_train2017.json' in dict(config_files(cfg))
    assert not any('Crop' in transform['type'] for transform in imagenet.pipeline)
    assert 'true_labels' in imagenet.pipeline[-1]['meta_keys']


def test_small_22k_teaches_whole_shapes_by_pictures_only():
    cfg = read('mini/ovsam_mini_22k.py')
    scenes, pictures = cfg.train_dataloader.dataset.datasets
    assert scenes.type == 'MiniWorldDataset' and scenes.base_only
    assert pictures.type == 'ImageLabelDataset'
    assert not any(step.get('with_mask') for step in pictures.pipeline)
    classifier, test = cfg.model.classifier, cfg.test_dataloader.dataset
    assert classifier.train_novel
    assert scenes.novel == list(HELD_OUT) == classifier.novel == test.novel
    names = [category.name for category in CATEGORIES]
    flags = np.reshape(novel_flags(names, scenes.novel), (-1, len(SHAPES)))
    assert (flags == flags[0]).all() and flags[0].sum() == 4
    # the checkpoint that was trained on all shapes
    assert cfg.model.head.init_cfg.checkpoint == 'mmovsam://sam_mini.safetensors'


def test_custom_hooks_of_a_config_drop_none_of_the_checks(tmp_path):
    config = tmp_path / 'config.py'
    base = str(CONFIGS / 'ovsam_lvis.py')
    config.write_text(f'_base_ = {base!r}\ncustom_hooks = [dict(type="EMAHook")]\n')
    kinds = {hook['type'] for hook in Config.fromfile(config).default_hooks.values()}
    checks = {'CheckpointCheckHook', 'ClassCheckHook', 'ClassFrequencyHook', 'HeartbeatHook'}
    assert checks <= kinds

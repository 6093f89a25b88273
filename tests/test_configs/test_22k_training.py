"""The training on LVIS, COCO and ImageNet-21K, with few images and a small model."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.hooks import Hook
from PIL import Image

from mmovsam.engine.runners import build_runner
from mmovsam.vocabulary import TextClassifier, Vocabulary, save_classifier

CONFIG = Path(__file__).resolve().parents[2] / 'configs' / 'ovsam_22k.py'
# the last two are classes of LVIS too
SYNSETS = dict(n01440764='tench, Tinca tinca', n02084071='dog', n02391049='zebra')
STEPS = 5


class Recorder(Hook):
    def __init__(self):
        self.steps = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps.append({key: float(value) for key, value in outputs.items()})


def write_annotations(path, classes, labels, **fields):
    """Two images, an object of each of `labels` in both, in COCO's JSON layout."""
    images, annotations = [], []
    for image_id in (1, 2):
        about = dict(file_name=f'{image_id}.jpg', coco_url=f'http://coco/train2017/{image_id}.jpg')
        images.append(dict(id=image_id, height=90, width=120, **about, **fields))
        for label in labels:
            left = 5 + 7 * len(annotations) % 60
            ring = [left, 10, left + 50, 10, left + 50, 70, left, 70]
            about = dict(id=len(annotations) + 1, image_id=image_id, area=3000, iscrowd=0)
            about.update(category_id=classes.index(label) + 1, bbox=[left, 10, 50, 60])
            annotations.append(dict(about, segmentation=[ring]))
    categories = [
        dict(id=i, name=name, synonyms=[name], frequency='r' if name == 'gameboard' else 'f')
        for i, name in enumerate(classes, 1)
    ]
    content = dict(images=images, annotations=annotations, categories=categories)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def write_data(folder):
    """What `ovsam_22k.py` reads, below a folder."""
    coco, lvis = (
        DATASETS.get(kind).METAINFO['classes'] for kind in ('CocoDataset', 'LVISV1Dataset')
    )
    path, labels = (
        'lvis/annotations/lvis_v1_train.json',
        ('car_(automobile)', 'banana', 'gameboard'),
    )
    lists = dict(neg_category_ids=[7], not_exhaustive_category_ids=[])
    write_annotations(folder / path, lvis, labels, **lists)
    path = 'coco/annotations/instances_train2017.json'
    write_annotations(folder / path, coco, ('car', 'zebra'))
    paths = [folder / f'coco/train2017/{number}.jpg' for number in (1, 2)]
    paths += [folder / f'imagenet22k/{synset}/{synset}_1.JPEG' for synset in SYNSETS]
    random = np.random.default_rng(0)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """The config, its data, a vocabulary of random embeddings and a model that is small."""
    write_data(tmp_path / 'data')
    monkeypatch.chdir(tmp_path)
    real = Config.fromfile(CONFIG)
    # scale and crop of the pipelines
    cfg = Config.fromstring(real.pretty_text.replace('1024', str(tiny.SIZE)), '.py')
    model = dict(
        head=dict(loss_cls=real.model.head.loss_cls),
        classifier=real.model.classifier,
        train_cfg=real.model.train_cfg,
    )
    cfg.model = tiny.merged(tiny.OVSAM, model)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.sampler.num_samples = STEPS * cfg.train_dataloader.batch_size
    cfg.train_cfg.update(max_epochs=1)
    cfg.update(work_dir=str(tmp_path / 'out'), launcher='none', log_level='ERROR')
    return cfg


def test_22k_trains_on_all_its_sources_with_their_joint_vocabulary(cfg, monkeypatch):
    joint = DATASETS.build(cfg.train_dataloader.dataset)
    classes, imagenet = joint.metainfo['classes'], joint.datasets[2]
    pictured = [imagenet.get_data_info(i)['true_labels'][0] for i in range(len(imagenet))]
    pictured = [classes[joint.joined.labels['imagenet'][label]] for label in pictured]
    assert pictured == list(SYNSETS.values())
    coco = joint.datasets[1].metainfo['classes']
    assert classes[joint.joined.labels['coco'][coco.index('car')]] == 'car_(automobile)'
    vocabulary = Vocabulary.from_metainfo(joint.metainfo)
    counts = tuple(map(len, vocabulary.prompt_names))
    os.mkdir('checkpoints')
    save_classifier(
        cfg.model.classifier.classifier,
        TextClassifier(
            torch.randn(sum(counts), tiny.WIDTH), vocabulary.names, vocabulary.novel, counts=counts
        ),
    )
    # the runner's data set is the same once more
    monkeypatch.setattr('mmovsam.datasets.mixed.join_vocabularies', lambda *_: joint.joined)
    runner = build_runner(cfg, training=True)
    recorder = Recorder()
    runner.register_hook(recorder)
    before = runner.model.head.roi_conv.weight.clone()
    runner.train()
    assert len(recorder.steps) == STEPS
    logged = set().union(*recorder.steps)
    print(sorted(logged))
    parts = {f'{source}/{part}' for source in ('lvis', 'coco') for part in ('mask', 'dice', 'cls')}
    assert parts | {'imagenet/cls', 'loss_mask', 'loss_cls', 'acc'} <= logged
    assert 'imagenet/mask' not in logged
    assert all(math.isfinite(value) for step in recorder.steps for value in step.values())
    assert (runner.model.head.roi_conv.weight != before).any()

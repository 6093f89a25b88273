import json

import numpy as np
import pytest
import tiny
import tiny_data
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from PIL import Image

from mmovsam.vocabulary import TextClassifier

BOXES = [step for step in tiny_data.PIPELINE if step['type'] not in ('LoadAnnotations',)]
BOXES.insert(2, dict(type='LoadAnnotations', with_bbox=True))
META = ('img_id', 'img_path', 'true_labels', 'neg_labels', 'not_exhaustive_labels')


def pipeline(steps):
    return [*steps[:-1], dict(type='PackDetInputs', meta_keys=META)]


@pytest.fixture
def parts(tmp_path):
    """Two images with masks (plum, owl), one with boxes only, three with labels of the whole."""
    annotations = [tiny_data.annotation(i, [4, 4, 20, 20], image) for i, image in ((1, 1), (2, 2))]
    tiny_data.write_data(tmp_path, [(40, 50), (50, 40)], annotations)
    content = json.loads((tmp_path / 'lvis.json').read_text())
    content['images'][0].update(neg_category_ids=[1], not_exhaustive_category_ids=[2])
    (tmp_path / 'lvis.json').write_text(json.dumps(content))
    boxes = dict(
        images=content['images'][:1],
        categories=[dict(id=4, name='Bird_or_owl'), dict(id=9, name='boat')],
        annotations=[dict(id=1, image_id=1, category_id=9, bbox=[4, 4, 20, 20])],
    )
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    for name in ('plum/1.png', 'cloud/2.png', 'boat/3.png'):
        path = tmp_path / 'labels' / name
        path.parent.mkdir(parents=True)
        Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(path)
    return [
        dict(
            tiny_data.dataset_config(tmp_path, base_only=True),
            pipeline=pipeline(tiny_data.PIPELINE),
        ),
        dict(
            type='CocoJsonDataset',
            data_root=str(tmp_path),
            ann_file='boxes.json',
            data_prefix=dict(img=''),
            masks_required=False,
            pipeline=pipeline(BOXES),
        ),
        dict(
            type='ImageLabelDataset', data_root=str(tmp_path / 'labels'), pipeline=pipeline(BOXES)
        ),
    ]


NAMES = ['masks', 'boxes', 'labels']


def build(parts, names=NAMES, **kwargs):
    return DATASETS.build(dict(type='MixedDataset', datasets=parts, names=names, **kwargs))


def test_labels_of_all_data_sets_are_those_of_the_joint_vocabulary(parts):
    dataset = build(parts)
    classes = dataset.metainfo['classes']
    # Categories in order of their ids: tiny_data's annotation n is of category n % 2 + 1.
    assert classes == ('plum', 'owl', 'boat', 'cloud')
    found = []
    for item in dataset:
        sample = item['data_samples']
        found.append((sample.source, [classes[i] for i in sample.gt_instances.labels]))
    assert 'novel' not in dataset.metainfo  # the boxes know the owl
    assert build(parts[::2], NAMES[::2]).metainfo['novel'] == (False, True, False, False)
    assert found == [
        ('masks', []),  # an owl, which is rare
        ('masks', ['plum']),
        ('boxes', ['boat']),
        ('labels', ['boat']),
        ('labels', ['cloud']),
        ('labels', ['plum']),
    ]


def test_what_else_is_known_of_an_image_is_in_joint_labels_and_unnamed_data_have_none(parts):
    dataset = build(parts[::-1], NAMES[::-1])
    classes = dataset.metainfo['classes']
    assert classes == ('boat', 'cloud', 'plum', 'Bird_or_owl')
    whole, masks = dataset[2]['data_samples'], dataset[4]['data_samples']
    assert [classes[i] for i in whole.true_labels] == ['plum']
    assert [classes[i] for i in masks.neg_labels] == ['plum']
    assert [classes[i] for i in masks.not_exhaustive_labels] == ['Bird_or_owl']
    dataset = build(parts, unnamed=['masks'])
    assert dataset.metainfo['classes'] == ('Bird_or_owl', 'boat', 'cloud', 'plum')
    labels = [dataset[i]['data_samples'].gt_instances.labels.tolist() for i in (1, 2)]
    assert labels == [[-1], [1]] and dataset.class_frequencies.shape == (4,)


def test_frequencies_are_regions_of_an_image_drawn_in_the_ratios(parts):
    frequencies = build(parts, ratios=[2, 1, 1]).class_frequencies
    # plum: 1 in 2 images of masks, 1 in 3 of labels; owl: left out, not in the other two
    want = [0.5 / 2 + 0.25 / 3, 0, 0.25 + 0.25 / 3, 0.25 / 3]
    np.testing.assert_allclose(frequencies, want)
    alone = build(parts, ratios=[1, 0, 0])
    assert alone.class_frequencies.tolist() == [0.5, 0, 0, 0]
    own = {name: flags.nonzero()[0].tolist() for name, flags in alone.source_classes.items()}
    assert own == dict(masks=[0], boxes=[2], labels=[0, 2, 3])


def test_what_was_joined_and_what_is_in_doubt_is_in_the_log(parts, tmp_path, logged):
    content = json.loads((tmp_path / 'boxes.json').read_text())
    content['categories'][1]['name'] = 'plum (tree)'
    content['annotations'][0]['iscrowd'] = 1
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    sample = build(parts)[2]['data_samples']
    assert sample.ignored_instances.labels.tolist() == [2] and len(sample.gt_instances) == 0
    text = logged.text
    assert "boxes: 'Bird_or_owl' is 'owl'" in text
    assert "boxes: 'plum (tree)' shares a name with 'plum' and stays a class of its own" in text
    assert 'masks (2 images, 2 classes)' in text


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(names=['a', 'b']), r"names has \('a', 'b'\), expected a different one for each of 3"),
        (dict(names=['a', 'b', 'glossary']), '"loss" in it'),
        (dict(ratios=[1, 1]), 'expected a number for each of 3 data sets'),
        (dict(ratios=[0, 0, 0]), 'not all of them 0'),
        (dict(unnamed=['sa1b']), "expected some of \\('masks', 'boxes', 'labels'\\)"),
        (dict(same=dict(boxes=dict(ship='plum'))), "`same` has 'ship', which is none of the class"),
    ],
)
def test_settings_out_of_range_are_named(parts, settings, message):
    with pytest.raises(ValueError, match=message):
        build(parts, **settings)


def test_batch_of_every_kind_trains_with_parts_of_the_loss_by_source(parts):
    dataset = build(parts)
    torch.manual_seed(0)
    model = MODELS.build(tiny.OVSAM).train()
    model.set_vocabulary(TextClassifier(torch.randn(4, 1, tiny.WIDTH), dataset.metainfo['classes']))
    items = [dataset[i] for i in range(len(dataset))]

    def losses(*chosen):
        torch.manual_seed(0)
        data = pseudo_collate([items[i] for i in chosen])
        data = model.data_preprocessor(data, training=True)
        return model(**data, mode='loss')

    mixed = losses(*range(6))
    parts_of = {f'{name}/{part}' for name in NAMES for part in ('cls', 'acc')}
    masks = {'loss_mask', 'loss_dice', 'masks/mask', 'masks/dice'}
    assert set(mixed) == masks | parts_of | {'loss_cls', 'acc'}
    weighted = mixed['masks/cls'] + mixed['boxes/cls'] + 3 * mixed['labels/cls']
    torch.testing.assert_close(mixed['loss_cls'].detach(), weighted / 5)
    torch.testing.assert_close(mixed['loss_mask'].detach(), mixed['masks/mask'])
    labels_only = losses(3, 4, 5)
    assert set(labels_only) == {'loss_mask', 'loss_cls', 'acc', 'labels/cls', 'labels/acc'}
    assert labels_only['loss_mask'] == 0
    model.parse_losses(labels_only)[0].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

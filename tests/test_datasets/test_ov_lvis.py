import json

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

from mmovsam.datasets import MiniWorldDataset, OVLVISDataset
from mmovsam.datasets.mini_world import CATEGORIES, draw_scene, write_split
from mmovsam.datasets.mini_world.writer import scene_rng

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]


TRIANGLE = [[1, 2, 4, 2, 4, 6]]


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('world')
    for split in ('train', 'val'):
        write_split(folder, split, 6, 4, progress=False)
    return folder


def open_world(world, split='val', **kwargs):
    return MiniWorldDataset(
        data_root=str(world),
        ann_file=f'annotations/mini_{split}.json',
        data_prefix=dict(img=''),
        **kwargs,
    )


@pytest.fixture
def content():
    """A tiny file in LVIS's format; tests break it."""
    return dict(
        images=[
            dict(
                id=i,
                width=20,
                height=10,
                coco_url=f'http://images.cocodataset.org/val2017/{i:012d}.jpg',
                neg_category_ids=[5],
                not_exhaustive_category_ids=[],
            )
            for i in (8, 3)
        ],
        annotations=[
            dict(
                id=1, image_id=8, category_id=9, area=4.0, bbox=[1, 2, 3, 4], segmentation=TRIANGLE
            ),
            dict(
                id=2, image_id=8, category_id=2, area=4.0, bbox=[0, 0, 2, 2], segmentation=TRIANGLE
            ),
        ],
        categories=[
            dict(id=9, name='zebra', frequency='r', synonyms=['zebra']),
            dict(id=2, name='baby_buggy', frequency='f', synonyms=['pram', 'stroller']),
            dict(id=5, name='apple', frequency='c', synonyms=['apple']),
        ],
    )


@pytest.fixture
def read(tmp_path):
    def read_content(content, kind=OVLVISDataset, **kwargs):
        (tmp_path / 'lvis.json').write_text(json.dumps(content))
        (tmp_path / 'val2017').mkdir(exist_ok=True)
        return kind(
            data_root=str(tmp_path), ann_file='lvis.json', data_prefix=dict(img=''), **kwargs
        )

    return read_content


def test_the_small_world_has_all_classes_and_which_are_novel(world):
    dataset = DATASETS.build(
        dict(type='MiniWorldDataset', data_root=str(world), ann_file='annotations/mini_val.json',
             data_prefix=dict(img=''))
    )  # fmt: skip
    assert dataset.metainfo['classes'] == tuple(category.name for category in CATEGORIES)
    assert dataset.metainfo['novel'] == tuple(category.novel for category in CATEGORIES)
    assert len(dataset.metainfo['palette']) == len(dataset.metainfo['synonyms']) == 640
    assert len(dataset) == 6


def test_samples_hold_the_masks_boxes_and_labels_that_were_drawn(world):
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = open_world(world, pipeline=PIPELINE, test_mode=True)
    for index in range(len(dataset)):
        scene = draw_scene(scene_rng(4, 'val', index), 'val')
        item = dataset[index]
        instances = item['data_samples'].gt_instances
        assert instances.labels.tolist() == [i - 1 for i in scene.category_ids]
        np.testing.assert_array_equal(instances.masks.masks.astype(bool), scene.masks)
        assert tuple(item['inputs'].shape[1:]) == scene.image.shape[:2]
        # BGR, as MMDetection's own loader gives it; the difference is JPEG's.
        difference = item['inputs'].numpy().astype(int)[::-1].transpose(1, 2, 0) - scene.image
        assert np.abs(difference).mean() < 6


def test_base_only_leaves_out_novel_annotations_and_keeps_the_labels(world):
    everything, base = open_world(world), open_world(world, base_only=True)
    novel = everything.metainfo['novel']
    assert base.metainfo['classes'] == everything.metainfo['classes']
    for index in range(len(base)):
        labels = [i['bbox_label'] for i in everything.get_data_info(index)['instances']]
        kept = [i['bbox_label'] for i in base.get_data_info(index)['instances']]
        assert kept == [label for label in labels if not novel[label]]


def test_labels_and_metainfo_follow_the_order_of_category_ids(content, read):
    dataset = read(content)
    assert dataset.metainfo['classes'] == ('baby_buggy', 'apple', 'zebra')
    assert dataset.metainfo['novel'] == (False, False, True)
    assert dataset.metainfo['synonyms'][0] == ('pram', 'stroller')
    assert [dataset.get_data_info(i)['img_id'] for i in range(2)] == [3, 8]
    instances = dataset.get_data_info(1)['instances']
    assert [i['bbox_label'] for i in instances] == [2, 0]
    assert instances[0]['bbox'] == [1, 2, 4, 6]
    assert dataset.get_data_info(1)['neg_category_ids'] == [5]
    assert dataset.get_data_info(1)['neg_labels'] == [1]
    assert dataset.get_data_info(1)['not_exhaustive_labels'] == []


def test_an_image_lies_at_the_last_two_parts_of_its_url(content, read, tmp_path):
    dataset = read(content)
    expected = str(tmp_path / 'val2017' / '000000000003.jpg')
    assert dataset.get_data_info(0)['img_path'] == expected


def test_file_name_is_taken_where_there_is_no_url(content, read, tmp_path):
    for image in content['images']:
        del image['coco_url']
        image['file_name'] = f'{image["id"]}.jpg'
    assert read(content).get_data_info(0)['img_path'] == str(tmp_path / '3.jpg')


def test_given_classes_are_a_choice_of_those_in_the_file(content, read):
    dataset = read(content, metainfo=dict(classes=('zebra', 'apple')))
    assert dataset.metainfo['classes'] == ('zebra', 'apple')
    assert dataset.metainfo['novel'] == (True, False)
    assert [i['bbox_label'] for i in dataset.get_data_info(1)['instances']] == [0]


def test_metainfo_of_another_length_than_the_classes_is_named(content, read):
    with pytest.raises(ValueError, match=r'metainfo\["novel"\] has 1 entries.*2 classes'):
        read(content, metainfo=dict(classes=('zebra', 'apple'), novel=(True,)))


def test_class_agnostic_makes_one_class_of_all(content, read):
    dataset = read(content, class_agnostic=True)
    assert dataset.metainfo['classes'] == ('object',)
    assert [i['bbox_label'] for i in dataset.get_data_info(1)['instances']] == [0, 0]


def test_novel_names_take_the_place_of_rare_ones(world):
    novel = open_world(world, novel=['* digit two']).metainfo['novel']
    assert list(novel) == [c.name.endswith('digit two') for c in CATEGORIES]


def test_filter_drops_images_without_what_base_only_leaves(content, read):
    content['annotations'].pop()
    filter_cfg = dict(filter_empty_gt=True)
    assert len(read(content, filter_cfg=filter_cfg)) == 1
    assert len(read(content, filter_cfg=filter_cfg, test_mode=True)) == 2
    with pytest.raises(ValueError, match=r'lvis\.json: none of its 2 images is left.*base_only'):
        read(content, filter_cfg=filter_cfg, base_only=True)


def test_filter_drops_images_that_are_too_small(content, read):
    content['images'][0]['height'] = 30
    assert len(read(content, filter_cfg=dict(min_size=11))) == 1


@pytest.mark.parametrize(
    'table, key, message',
    [
        (None, 'images', 'the file has no "images"'),
        (None, 'annotations', 'the file has no "annotations"'),
        (None, 'categories', 'the file has no "categories"'),
        ('images', 'id', 'an image has no "id"'),
        ('images', 'width', 'image 8 has no "width"'),
        ('images', 'height', 'image 8 has no "height"'),
        ('annotations', 'image_id', 'annotation 1 has no "image_id"'),
        ('annotations', 'category_id', 'annotation 1 has no "category_id"'),
        ('annotations', 'bbox', 'annotation 1 has no "bbox"'),
        ('annotations', 'segmentation', 'annotation 1 has no "segmentation"'),
        ('categories', 'id', 'category \'zebra\' has no "id"'),
        ('categories', 'name', 'category 9 has no "name"'),
        ('categories', 'frequency', 'category \'zebra\' has no "frequency"'),
    ],
)
def test_a_missing_field_is_named_with_its_file(content, read, table, key, message):
    del (content if table is None else content[table][0])[key]
    with pytest.raises(ValueError, match=rf'lvis\.json: {message}'):
        read(content)


@pytest.mark.parametrize('key', ['category_id', 'image_id'])
def test_an_unknown_id_is_named(content, read, key):
    content['annotations'][1][key] = 77
    with pytest.raises(ValueError, match=f'annotation 2 has {key} 77'):
        read(content)


@pytest.mark.parametrize('bbox', [[1, 2, 3], 'box', None])
def test_a_box_of_another_form_is_named(content, read, bbox):
    content['annotations'][0]['bbox'] = bbox
    with pytest.raises(ValueError, match='annotation 1 has bbox'):
        read(content)


def test_missing_annotations_and_images_are_named_in_one_message(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        MiniWorldDataset(
            data_root=str(tmp_path), ann_file='annotations/x.json', data_prefix=dict(img='images')
        )
    for part in ('annotations/x.json', str(tmp_path / 'images'), 'dev/make_mini_world.py'):
        assert part in str(error.value)


def test_a_missing_image_folder_is_named(content, read, tmp_path):
    for image in content['images']:
        image['coco_url'] = image['coco_url'].replace('val2017', 'train2017')
    with pytest.raises(FileNotFoundError, match=str(tmp_path / 'train2017')):
        read(content)


@pytest.mark.parametrize('value', [None, 3, [None], [[5]]])
def test_list_of_negatives_of_another_form_is_named(read, content, value):
    content['images'][0]['neg_category_ids'] = value
    with pytest.raises(ValueError, match='image 8 has neg_category_ids .*, expected a list of ids'):
        read(content)


def test_annotations_of_each_class_are_counted(read, content):
    assert read(content).class_counts.tolist() == [1, 0, 1]
    assert read(content, base_only=True).class_counts.tolist() == [1, 0, 0]

"""Annotation files in COCO's and LVIS's layout: what is read, left out and refused."""

import copy
import json
import math
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mini_world import CATEGORIES, draw_scene
from mini_world.writer import scene_rng, write_split
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.registry import DefaultScope
from pycocotools import mask as mask_utils

from mmovsam.datasets import CocoJsonDataset, MiniWorldDataset, OVCocoDataset, OVLVISDataset
from mmovsam.datasets.annotations import instance
from mmovsam.datasets.ov_coco import BASE_CLASSES, NOVEL_CLASSES

POLYGON = [2, 2, 8, 2, 8, 6, 2, 6]
COUNTS = [22, 4, 6, 4, 6, 4, 6, 4, 6, 4, 6, 4, 124]  # columns 2 to 7, rows 2 to 5 of 10
COMPRESSED = mask_utils.frPyObjects(dict(size=[10, 20], counts=COUNTS), 10, 20)['counts'].decode()
CONTENT = dict(
    images=[
        dict(
            id=i,
            width=20,
            height=10,
            file_name=f'{i}.jpg',
            coco_url=f'http://images.cocodataset.org/val2017/{i}.jpg',
            neg_category_ids=[5],
            not_exhaustive_category_ids=[],
        )
        for i in (2, 1)
    ],
    annotations=[
        dict(id=1, image_id=1, category_id=9, area=24, bbox=[2, 2, 6, 4], iscrowd=0,
             segmentation=[POLYGON]),
        dict(id=2, image_id=1, category_id=2, area=24, bbox=[2, 2, 6, 4], iscrowd=0,
             segmentation=dict(size=[10, 20], counts=COUNTS)),
    ],
    categories=[
        dict(id=9, name='zebra', frequency='r', synonyms=['zebra']),
        dict(id=2, name='baby_buggy', frequency='f', synonyms=['pram', 'stroller']),
        dict(id=5, name='apple', frequency='c', synonyms=['apple']),
    ],
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id',)),
]


def zebra(**changes):
    """The first annotation; fields that are `...` are left out."""
    entry = {**CONTENT['annotations'][0], **changes}
    return {key: value for key, value in entry.items() if value is not ...}


def parse(**changes):
    return instance(zebra(**changes), 0, 10, 20)


def changed(table, number=0, **changes):
    """The content with fields of one entry changed, or left out."""
    content = copy.deepcopy(CONTENT)
    entry = {**content[table][number], **changes}
    content[table][number] = {key: value for key, value in entry.items() if value is not ...}
    return content


@pytest.fixture
def read(tmp_path):
    (tmp_path / 'val2017').mkdir()

    def read_content(content=CONTENT, kind=OVLVISDataset, **kwargs):
        (tmp_path / 'file.json').write_text(json.dumps(content))
        return kind(
            data_root=str(tmp_path), ann_file='file.json', data_prefix=dict(img=''), **kwargs
        )

    return read_content


def instances(dataset, index=0):
    return dataset.get_data_info(index)['instances']


def labels(dataset, index=0):
    return [each['bbox_label'] for each in instances(dataset, index)]


def test_classes_follow_the_order_of_ids_and_images_lie_where_their_urls_say(read, tmp_path):
    dataset = read()
    info = dataset.metainfo
    assert info['classes'] == ('baby_buggy', 'apple', 'zebra')
    assert info['novel'] == (False, False, True)
    assert info['synonyms'][0] == ('pram', 'stroller') and len(info['palette']) == 3
    assert [dataset.get_data_info(i)['img_id'] for i in range(2)] == [1, 2]
    assert labels(dataset) == [2, 0] and instances(dataset)[0]['bbox'] == [2, 2, 8, 6]
    assert dataset.class_counts.tolist() == [1, 0, 1]
    image = dataset.get_data_info(0)
    assert image['img_path'] == str(tmp_path / 'val2017' / '1.jpg')
    assert (image['neg_category_ids'], image['neg_labels']) == ([5], [1])
    assert image['not_exhaustive_labels'] == []
    # a COCO file needs no more than its names and file names
    categories = [dict(id=each['id'], name=each['name']) for each in CONTENT['categories']]
    dataset = read(dict(CONTENT, categories=categories), CocoJsonDataset)
    assert dataset.metainfo['classes'] == ('baby_buggy', 'apple', 'zebra')
    assert 'novel' not in dataset.metainfo and len(dataset.metainfo['palette']) == 3
    assert dataset.get_data_info(0)['img_path'] == str(tmp_path / '1.jpg')


@pytest.mark.parametrize(
    ('kind', 'settings', 'novel', 'expected'),
    [
        (OVLVISDataset, dict(base_only=True), (False, False, True), [0]),
        (OVLVISDataset, dict(novel=['baby*']), (True, False, False), [2, 0]),
        (OVLVISDataset, dict(metainfo=dict(classes=('zebra', 'apple'))), (True, False), [0]),
        (OVLVISDataset, dict(class_agnostic=True, base_only=True), (False,), [0]),
        (CocoJsonDataset, dict(base_only=True), None, [2, 0]),
        (CocoJsonDataset, dict(novel=['zebra'], base_only=True), (False, False, True), [0]),
    ],
)
def test_settings_choose_classes_and_what_is_novel(read, kind, settings, novel, expected):
    dataset = read(kind=kind, **settings)
    assert dataset.metainfo.get('novel') == novel and labels(dataset) == expected


def test_filters_leave_out_small_and_empty_images_of_training_and_take_a_part(read):
    empty = dict(filter_cfg=dict(filter_empty_gt=True))
    assert len(read(**empty)) == 1 and len(read(**empty, test_mode=True)) == 2
    learnable = dict(CONTENT, annotations=[zebra()])
    crowd = dict(CONTENT, annotations=[zebra(iscrowd=1)])
    for content, base_only in ((crowd, False), (learnable, True)):
        with pytest.raises(
            ValueError, match=r'file\.json: none of its 2 images is left.*base_only'
        ):
            read(content, **empty, base_only=base_only)
    assert len(read(changed('images', height=30), filter_cfg=dict(min_size=11))) == 1
    images = [dict(CONTENT['images'][0], id=number) for number in range(7)]
    for most, expected in ((3, [0, 2, 4]), (9, range(7))):  # evenly spread
        content = dict(CONTENT, images=images, annotations=[])
        part = read(content, filter_cfg=dict(max_images=most), test_mode=True)
        ids = [part.get_data_info(index)['img_id'] for index in range(len(part))]
        assert ids == list(expected)


def test_the_small_world_is_read_as_it_was_drawn(tmp_path):
    write_split(tmp_path, 'val', 2, 4, progress=False)
    config = dict(type='MiniWorldDataset', data_root=str(tmp_path), data_prefix=dict(img=''),
                  ann_file='annotations/mini_val.json', test_mode=True)  # fmt: skip
    pipeline = [*PIPELINE[:2], dict(type='PackDetInputs')]
    dataset, base = (
        DATASETS.build(dict(config, pipeline=pipeline, base_only=flag)) for flag in (False, True)
    )
    novel = tuple(category.novel for category in CATEGORIES)
    for each in (dataset, base):
        assert each.metainfo['classes'] == tuple(category.name for category in CATEGORIES)
        assert each.metainfo['novel'] == novel
        assert len(each.metainfo['palette']) == len(each.metainfo['synonyms']) == 640
    for index, item in enumerate(dataset):
        scene = draw_scene(scene_rng(4, 'val', index), 'val')
        found = item['data_samples'].gt_instances
        assert found.labels.tolist() == [i - 1 for i in scene.category_ids]
        assert labels(base, index) == [i - 1 for i in scene.category_ids if not novel[i - 1]]
        np.testing.assert_array_equal(found.masks.masks.astype(bool), scene.masks)
        # BGR, as MMDetection's own loader gives it; the difference is JPEG's.
        difference = item['inputs'].numpy().astype(int)[::-1].transpose(1, 2, 0) - scene.image
        assert np.abs(difference).mean() < 6


@pytest.fixture
def read_coco(read):
    names = CocoDataset.METAINFO['classes']
    content = dict(
        images=CONTENT['images'][1:],
        categories=[dict(id=2 * i + 1, name=name) for i, name in enumerate(names)],  # with gaps
        annotations=[
            zebra(id=i, category_id=2 * names.index(name) + 1, iscrowd=int(name == 'person'))
            for i, name in enumerate(('person', 'bus', 'traffic light', 'toothbrush'))
        ],
    )
    return lambda **kwargs: read(content, OVCocoDataset, **kwargs)


def test_coco_has_48_base_and_17_novel_classes_and_leaves_the_others_out(read_coco):
    dataset = read_coco()
    info = dataset.metainfo
    assert (len(set(BASE_CLASSES)), len(set(NOVEL_CLASSES))) == (48, 17)
    positions = [CocoDataset.METAINFO['classes'].index(name) for name in info['classes']]
    assert positions == sorted(positions)
    assert len(positions) == len(info['novel']) == len(info['palette']) == 65
    novel = {name for name, is_novel in zip(info['classes'], info['novel']) if is_novel}
    assert novel == set(NOVEL_CLASSES)
    names = [info['classes'][label] for label in labels(dataset)]
    assert names == ['person', 'bus', 'toothbrush']
    assert [each['ignore_flag'] for each in instances(dataset)] == [1, 0, 0]


@pytest.mark.parametrize(
    ('classes', 'settings', 'novel', 'expected'),
    [
        (('bus', 'traffic light', 'person'), dict(base_only=True), (True, None, False), [2]),
        (('unicorn', 'bus', 'toothbrush'), dict(absent_classes=True), (None, True, False), [1, 2]),
        (
            ('unicorn', 'bus', 'toothbrush'),
            dict(absent_classes=True, novel=('unicorn', 'bus')),
            (True, True, False),
            [1, 2],
        ),
    ],
)
def test_chosen_classes_may_be_neither_or_absent(read_coco, classes, settings, novel, expected):
    dataset = read_coco(metainfo=dict(classes=classes), **settings)
    assert dataset.metainfo['novel'] == novel and len(dataset.metainfo['palette']) == 3
    assert labels(dataset) == expected
    for allowed in (False, True):  # of which some are there
        with pytest.raises(ValueError, match="no category named 'unicorn'.*begin with 'person'"):
            read_coco(metainfo=dict(classes=('unicorn',)), absent_classes=allowed)


def test_polygons_and_run_lengths_become_masks():
    halves = [[2, 2, 5, 2, 5, 6, 2, 6], [5, 2, 8, 2, 8, 6, 5, 6], [1, 1, 5, 5]]
    runs = [dict(size=[10, 20], counts=counts) for counts in (COUNTS, COMPRESSED)]
    found = [parse(segmentation=given) for given in ([POLYGON], halves, *runs)]
    load = TRANSFORMS.build(dict(type='LoadAnnotations', with_mask=True))
    masks = load(dict(instances=found, height=10, width=20, ori_shape=(10, 20)))['gt_masks']
    expected = np.zeros((4, 10, 20))
    expected[:, 2:6, 2:8] = 1
    np.testing.assert_array_equal(masks.masks, expected)


FLAT = [
    [[10, 10, 60, 50]],
    [[]],
    [[1, 1, 5, 5, 6]],
    [[1, 1, 2, 2, 3, 3, 4, 4]],
    [[30, 1, 40, 1, 40, 9], [2, -9, 8, -9, 8, -1]],
    [[0.1, 0.2, 0.4, 0.2, 0.4, 0.6]],
    [[2.1, 2.1, 2.2, 2.1, 2.2, 2.2]],
    dict(size=[10, 20], counts=[0, 0, 200]),
]


@pytest.mark.parametrize('given', FLAT)
def test_masks_without_area_are_left_out_named_and_counted(given, read, logged):
    boxes_only = instance(zebra(segmentation=given), 0, 10, 20, mask_required=False)
    assert boxes_only['bbox'] == [2, 2, 8, 6] and 'mask' not in boxes_only
    content = dict(CONTENT, annotations=[*CONTENT['annotations'], zebra(id=7, segmentation=given)])
    assert len(instances(read(content))) == 2
    assert '1 of 3 annotations are left out (annotation 7)' in logged.text


def test_boxes_without_area_in_the_image_are_no_objects_and_flags_may_be_text(read):
    for bbox in ([2, 2, 0, 4], [2, 2, 6, 0.5], [2, 2, -6, 4], [20, 2, 6, 4]):
        assert parse(bbox=bbox, area='24') is None
    for value, expected in (('1', 1), ('0', 0), (True, 1), ('false', 0), (None, 0)):
        assert parse(iscrowd=value)['ignore_flag'] == expected
        content = dict(CONTENT, annotations=[zebra(ignore=value), zebra(id=2)])
        assert len(instances(read(content))) == 2 - expected


def test_boxes_that_look_like_corners_are_told(read, logged):
    corners = [zebra(id=i, bbox=box) for i, box in enumerate([[2, 2, 8, 6], [9, 3, 19, 9]])]
    read(dict(CONTENT, annotations=corners))
    assert 'boxes reach out of their images, which as corners' in logged.text
    logged.clear()
    read(dict(CONTENT, annotations=[*corners, zebra(id=3, bbox=[15, 2, 15, 5])]))
    assert 'corners' not in logged.text


@pytest.mark.parametrize('given', [..., None, [], [[]]])
def test_boxes_without_masks_work_from_a_pipeline_for_masks(read, given, tmp_path):
    if given != [[]]:
        with pytest.raises(ValueError, match='annotation 1 has no "segmentation"'):
            parse(segmentation=given)
    cv2.imwrite(str(tmp_path / '1.jpg'), np.zeros((10, 20, 3), np.uint8))
    settings = dict(kind=CocoJsonDataset, pipeline=PIPELINE, masks_required=False)
    content = dict(CONTENT, annotations=[zebra(segmentation=given), zebra(id=2)])
    with DefaultScope.overwrite_default_scope('mmdet'):
        found = read(content, **settings)[0]['data_samples'].gt_instances
        assert len(found.bboxes) == 2 and 'masks' not in found
        found = read(**settings)[0]['data_samples'].gt_instances
        assert len(found.masks) == 2


def places(value, path=()):
    """Paths to everything inside a JSON value."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


@settings(max_examples=100)
@given(st.data())
def test_a_file_with_anything_anywhere_is_read_or_named_in_an_error(data):
    kind = data.draw(st.sampled_from([CocoJsonDataset, OVLVISDataset]))
    content = copy.deepcopy(CONTENT)
    *path, last = data.draw(st.sampled_from(list(places(content))))
    parent = content
    for key in path:
        parent = parent[key]
    if data.draw(st.booleans()):
        parent[last] = data.draw(JSON)
    else:
        del parent[last]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'file.json'
        file.write_text(json.dumps(content))
        (Path(folder) / 'val2017').mkdir()
        try:
            dataset = kind(data_root=folder, ann_file='file.json', data_prefix=dict(img=''),
                           test_mode=True, serialize_data=False)  # fmt: skip
        except (ValueError, FileNotFoundError) as error:
            assert folder in str(error)
        else:
            for index in range(len(dataset)):
                for each in instances(dataset, index):
                    assert all(map(math.isfinite, each['bbox']))


COUNTS_OF_ANOTHER_FORM = [
    COUNTS[:-1],
    'äöü',
    '\ud800i5',  # read as ?i5 it would be 15 and 185
    COMPRESSED[:-1],
    'o' * 30 + '0',
    [210, -10],
    [100.5, 99.5],
    [[200]],
    [10**30],
]


@pytest.mark.parametrize(
    'given',
    [
        'polygon',
        [3.0, 4.0],
        [['a', 'b']],
        [[1, 2, float('nan'), 4, 5, 6]],
        [[[1, 2], [3, 4], [5, 6]]],
        dict(counts=COUNTS),
        dict(size=[10, 20]),
        dict(size=[20, 10], counts=COUNTS),
        *(dict(size=[10, 20], counts=counts) for counts in COUNTS_OF_ANOTHER_FORM),
    ],
)
def test_a_segmentation_of_another_form_is_named(given):
    with pytest.raises(ValueError, match=r'annotation 1 has segmentation .*"size": \[10, 20\]'):
        parse(segmentation=given)


@pytest.mark.parametrize(
    ('table', 'changes', 'message'),
    [
        ('images', dict(id=...), 'an image has no "id"'),
        ('images', dict(id=1), 'two images have the id 1'),
        ('images', dict(width=...), 'image 2 has no "width"'),
        ('images', dict(height='10'), "image 2 has height '10'"),
        ('images', dict(width=0), 'image 2 has height 10 and width 0'),
        ('images', dict(coco_url=..., file_name=3), 'image 2 has file_name 3, expected text'),
        ('images', dict(neg_category_ids=[None]), 'image 2 has neg_category_ids .*a list of ids'),
        ('annotations', dict(image_id='1'), "annotation 1 has image_id '1', which is none"),
        ('annotations', dict(category_id=77), 'annotation 1 has category_id 77'),
        ('annotations', dict(category_id=[1]), r'has category_id \[1\], expected a number'),
        ('annotations', dict(bbox=...), 'annotation 1 has no "bbox"'),
        ('annotations', dict(bbox=[1, 2, 3]), 'annotation 1 has bbox'),
        ('annotations', dict(bbox=[1, 2, float('nan'), 4]), 'annotation 1 has bbox .* finite num'),
        ('annotations', dict(bbox=[1, 2, '3', 4]), 'annotation 1 has bbox .* finite numbers'),
        ('annotations', dict(segmentation=...), 'annotation 1 has no "segmentation"'),
        ('annotations', dict(iscrowd='yes'), 'annotation 1 has iscrowd .*expected 0 or 1'),
        ('annotations', dict(ignore=[0]), 'annotation 1 has ignore .*expected 0 or 1'),
        ('annotations', dict(ignore=2), 'annotation 1 has ignore .*expected 0 or 1'),
        ('categories', dict(id=...), 'category \'zebra\' has no "id"'),
        ('categories', dict(name=5), 'category 9 has name 5, expected text'),
        ('categories', dict(name='apple'), "two categories have the name 'apple'"),
        ('categories', dict(frequency=...), 'category \'zebra\' has no "frequency"'),
        ('categories', dict(synonyms='owl'), "category 'zebra' has synonyms 'owl'"),
    ],
)
def test_a_wrong_or_missing_field_is_named_with_its_file(read, table, changes, message):
    with pytest.raises(ValueError, match=rf'file\.json: .*{message}'):
        read(changed(table, **changes))


def annotated(*entries, **tables):
    return dict(CONTENT, annotations=list(entries), **tables)


FRACTIONS, OUTSIDE = [0.1, 0.2, 0.3, 0.4], [30, 2, 6, 4]


@pytest.mark.parametrize(
    ('content', 'settings', 'message'),
    [
        *(
            (annotated(zebra(segmentation=[[0, 0, far, 0, far, 5]])), {}, 'segmentation .*far out')
            for far in (1e8, -1e9, 1e300)  # which would crash pycocotools
        ),
        (annotated(images=[]), {}, 'none of its 0 images'),
        (annotated(categories=[]), {}, 'the file has no category'),
        (
            annotated(categories=[dict(id=1, name='a'), dict(id='2', name='b')]),
            {},
            r"category ids are numbers and text \(1, '2' ",
        ),
        (dict(CONTENT, images={}), {}, '"images" has to be a list of objects'),
        (annotated(3), {}, '"annotations" has to be a list of objects'),
        (dict(images=[], annotations=[]), {}, 'the file has no "categories"'),
        (CONTENT, dict(novel=['plumm']), "novel has 'plumm', which is no class.*'baby_buggy'"),
        (
            CONTENT,
            dict(metainfo=dict(classes=('zebra', 'apple'), novel=(True,))),
            r'metainfo\["novel"\] has 1 entries.*2 classes',
        ),
        # nothing is left
        (annotated(zebra(bbox=FRACTIONS)), {}, 'fractions of the image; write pixels'),
        (
            annotated(zebra(bbox=FRACTIONS), zebra(id=2, bbox=[0, 0, 1, 1])),
            dict(test_mode=True),
            'between 0 and 1.*0.1, 0.2.*fractions',
        ),
        (
            annotated(zebra(bbox=OUTSIDE), zebra(id=2, bbox=[2, 2, 0, 0])),
            {},
            r'2 of 2 .*nothing else is left.*\[30, 2, 6, 4\].*pixels',
        ),
    ],
)
def test_a_wrong_file_or_setting_is_named(read, content, settings, message):
    with pytest.raises(ValueError, match=rf'file\.json: .*{message}'):
        read(content, **settings)


def test_missing_annotations_and_folders_are_named(read, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        MiniWorldDataset(
            data_root=str(tmp_path), ann_file='annotations/x.json', data_prefix=dict(img='images')
        )
    for part in ('annotations/x.json', str(tmp_path / 'images'), 'dev/make_mini_world.py'):
        assert part in str(error.value)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / 'train2017')):
        read(changed('images', coco_url='http://images/train2017/2.jpg'))

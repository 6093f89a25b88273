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
from mmdet.registry import TRANSFORMS
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from pycocotools import mask as mask_utils

from mmovsam.datasets import CocoJsonDataset, OVLVISDataset
from mmovsam.datasets.annotations import instance, segmentation

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
            neg_category_ids=[1],
            not_exhaustive_category_ids=[],
        )
        for i in (1, 2)
    ],
    annotations=[
        dict(id=1, image_id=1, category_id=1, area=24, bbox=[2, 2, 6, 4], iscrowd=0,
             segmentation=[POLYGON]),
        dict(id=2, image_id=1, category_id=2, area=24, bbox=[2, 2, 6, 4], iscrowd=1,
             segmentation=dict(size=[10, 20], counts=COUNTS)),
    ],
    categories=[
        dict(id=1, name='owl', frequency='r', synonyms=['owl']),
        dict(id=2, name='plum', frequency='f', synonyms=['plum']),
    ],
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


def box(**changes):
    return {**CONTENT['annotations'][0], **changes}


def parse(**changes):
    return instance(box(**changes), 0, 10, 20)


def places(value, path=()):
    """Paths to everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


@pytest.fixture
def read(tmp_path):
    def read_content(content, kind=CocoJsonDataset, **kwargs):
        (tmp_path / 'coco.json').write_text(json.dumps(content))
        return kind(
            data_root=str(tmp_path),
            ann_file='coco.json',
            data_prefix=dict(img=''),
            serialize_data=False,
            **kwargs,
        )

    return read_content


@settings(max_examples=150)
@given(st.data())
def test_a_file_with_anything_anywhere_is_read_or_named_in_an_error(data):
    kind = data.draw(st.sampled_from([CocoJsonDataset, OVLVISDataset]))
    content = copy.deepcopy(CONTENT)
    path = data.draw(st.sampled_from(list(places(content))))
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    if data.draw(st.booleans()):
        parent[path[-1]] = data.draw(JSON)
    else:
        del parent[path[-1]]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'coco.json'
        file.write_text(json.dumps(content))
        (Path(folder) / 'val2017').mkdir()
        try:
            dataset = kind(
                data_root=folder,
                ann_file='coco.json',
                data_prefix=dict(img=''),
                test_mode=True,
                serialize_data=False,  # MMEngine would collect garbage, which is slow
            )
        except (ValueError, FileNotFoundError) as error:
            assert folder in str(error)
        else:
            for index in range(len(dataset)):
                for each in dataset.get_data_info(index)['instances']:
                    assert all(map(math.isfinite, each['bbox']))


@pytest.mark.parametrize(
    'segmentation',
    [
        [POLYGON],
        [[2, 2, 5, 2, 5, 6, 2, 6], [5, 2, 8, 2, 8, 6, 5, 6]],
        dict(size=[10, 20], counts=COUNTS),
        dict(size=[10, 20], counts=COMPRESSED),
    ],
)
def test_polygons_and_run_lengths_become_masks(segmentation):
    found = parse(segmentation=segmentation)
    with DefaultScope.overwrite_default_scope('mmdet'):
        load = TRANSFORMS.build(dict(type='LoadAnnotations', with_mask=True))
    masks = load(dict(instances=[found], height=10, width=20, ori_shape=(10, 20)))['gt_masks']
    expected = np.zeros((1, 10, 20))
    expected[:, 2:6, 2:8] = 1
    np.testing.assert_array_equal(masks.masks, expected)


FLAT = [
    [[10, 10, 60, 50]],
    [[]],
    [[1, 1, 5, 5, 6]],
    [[1, 1, 5, 5, 6, 7, 8]],
    [[1, 1, 2, 2, 3, 3, 4, 4]],
    [[1, 1, 1, 1, 1, 1]],
    dict(size=[10, 20], counts=[200]),
    dict(size=[10, 20], counts=[0, 0, 200]),
]


@pytest.mark.parametrize('segmentation', FLAT)
def test_masks_without_area_are_left_out_named_and_counted(segmentation, read, caplog):
    assert parse(segmentation=segmentation) is None
    boxes_only = instance(box(segmentation=segmentation), 0, 10, 20, mask_required=False)
    assert boxes_only['bbox'] == [2, 2, 8, 6] and 'mask' not in boxes_only
    flat = box(id=7, segmentation=segmentation)
    content = dict(CONTENT, annotations=[*CONTENT['annotations'], flat])
    with caplog.at_level('WARNING'):
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        dataset = read(content)
        logger.removeHandler(caplog.handler)
    assert len(dataset.get_data_info(0)['instances']) == 2
    assert '1 of 3 annotations are left out (annotation 7)' in caplog.text


@pytest.mark.parametrize(
    'value, expected', [('1', 1), ('0', 0), (True, 1), ('false', 0), (None, 0)]
)
def test_flags_in_text_are_taken_for_what_they_say(value, expected, read):
    assert parse(iscrowd=value)['ignore_flag'] == expected
    content = dict(CONTENT, annotations=[box(ignore=value), box(id=2)])
    assert len(read(content).get_data_info(0)['instances']) == 2 - expected


@pytest.mark.parametrize('value', ['yes', '', 2, float('nan'), [0], {}])
@pytest.mark.parametrize('key', ['iscrowd', 'ignore'])
def test_flags_that_are_none_are_named(key, value, read):
    content = dict(CONTENT, annotations=[box(**{key: value})])
    with pytest.raises(ValueError, match=rf'coco\.json: annotation 1 has {key} .*expected 0 or 1'):
        read(content)


@pytest.mark.parametrize(
    'bboxes, message',
    [
        ([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]], 'between 0 and 1.*0.1, 0.2.*fractions'),
        ([[0.1, 0.2, 0.3, 0.4]], 'fractions of the image; write pixels'),
        ([[30, 2, 6, 4], [2, 2, 0, 0]], r'2 of 2 .*nothing else is left.*\[30, 2, 6, 4\].*pixels'),
    ],
)
def test_a_file_of_which_nothing_is_left_is_refused(bboxes, message, read):
    annotations = [box(id=i, bbox=bbox) for i, bbox in enumerate(bboxes)]
    for test_mode in (False, True):
        with pytest.raises(ValueError, match=rf'coco\.json: .*{message}'):
            read(dict(CONTENT, annotations=annotations), test_mode=test_mode)


def test_empty_boxes_beside_others_are_no_fractions(read):
    annotations = [box(id=i, bbox=[0, 0, 0, 0]) for i in range(5)] + [box(id=6)]
    dataset = read(dict(CONTENT, annotations=annotations))
    assert len(dataset.get_data_info(0)['instances']) == 1


@settings(max_examples=60)
@given(st.binary(min_size=1, max_size=200), st.integers(1, 30))
def test_compressed_run_lengths_of_pycocotools_are_read_and_cut_ones_refused(pixels, height):
    mask = np.frombuffer(pixels, np.uint8)[: len(pixels) // height * height] > 127
    mask = mask.reshape(height, -1)
    if mask.size:
        encoded = mask_utils.encode(np.asfortranarray(mask, np.uint8))
        found = dict(encoded, counts=encoded['counts'].decode())
        assert segmentation(dict(segmentation=found), '', *mask.shape) == (
            found if mask.any() else []
        )
        cut = dict(found, counts=found['counts'][:-1])
        with pytest.raises(ValueError, match='the whole image'):
            segmentation(dict(segmentation=cut), '', *mask.shape)


@pytest.mark.parametrize(
    'segmentation',
    [
        'polygon',
        7,
        [3.0, 4.0],
        [['a', 'b']],
        [[1, 2, float('nan'), 4, 5, 6]],
        [[[1, 2], [3, 4], [5, 6]]],
        dict(counts=COUNTS),
        dict(size=[20, 10], counts=COUNTS),
        dict(size=[10, 20], counts=COUNTS[:-1]),
        dict(size=[10, 20], counts=''),
        dict(size=[10, 20], counts='abc'),
        dict(size=[10, 20], counts='äöü'),
        dict(size=[10, 20], counts=COMPRESSED[: len(COMPRESSED) // 2]),
        dict(size=[10, 20], counts=COMPRESSED[:-1]),
        dict(size=[10, 20], counts='o' * 30 + '0'),
        dict(size=[10, 20], counts=[210, -10]),
        dict(size=[10, 20], counts=[100.5, 99.5]),
        dict(size=[10, 20], counts=[True] * 200),
        dict(size=[10, 20], counts=[[200]]),
        dict(size=[10, 20], counts=[10**30]),
        dict(size=[10, 20]),
    ],
)
def test_a_segmentation_of_another_form_is_named(segmentation):
    with pytest.raises(ValueError, match=r'annotation 1 has segmentation .*"size": \[10, 20\]'):
        parse(segmentation=segmentation)


@pytest.mark.parametrize('segmentation', [None, [], {}])
def test_a_missing_segmentation_is_an_error_only_where_masks_are_needed(segmentation):
    with pytest.raises(ValueError, match='annotation 1 has no "segmentation"'):
        parse(segmentation=segmentation)
    assert 'mask' not in instance(box(segmentation=segmentation), 0, 10, 20, mask_required=False)


@pytest.mark.parametrize('bbox', [[2, 2, 0, 4], [2, 2, 6, 0.5], [2, 2, -6, 4], [20, 2, 6, 4]])
def test_boxes_without_area_in_the_image_are_no_objects(bbox):
    assert parse(bbox=bbox) is None


def test_a_file_without_annotations_is_tested_but_not_trained(read):
    content = dict(CONTENT, annotations=[])
    dataset = read(content, test_mode=True)
    assert [dataset.get_data_info(i)['instances'] for i in range(2)] == [[], []]
    with pytest.raises(ValueError, match=r'coco\.json: none of its 2 images is left'):
        read(content, filter_cfg=dict(filter_empty_gt=True))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(images=[]), 'none of its 0 images'),
        (dict(annotations=[], categories=[]), 'the file has no category'),
        (dict(images={}), '"images" has to be a list of objects'),
        (dict(annotations=[3]), '"annotations" has to be a list of objects'),
        (dict(images=CONTENT['images'] * 2), 'two images have the id 1'),
        (
            dict(categories=[dict(id=i, name='owl') for i in (1, 2)]),
            'categories have the name',
        ),
        (dict(categories=[dict(id=1, name=n) for n in 'ab']), 'categories have the id 1'),
        (dict(categories=[dict(id=1, name=5)]), 'category 1 has name 5, expected text'),
        (dict(annotations=[box(image_id='1')]), "annotation 1 has image_id '1', which is none"),
        (dict(annotations=[box(category_id=[1])]), r'has category_id \[1\], expected a number'),
        (dict(images=[dict(CONTENT['images'][0], height='10')]), "image 1 has height '10'"),
        (dict(images=[dict(CONTENT['images'][0], width=0)]), 'image 1 has height 10 and width 0'),
        (dict(images=[dict(CONTENT['images'][0], file_name=3)]), 'image 1 has file_name 3'),
    ],
)
def test_what_is_wrong_in_a_file_is_named(read, changes, message):
    content = {**CONTENT, **changes}
    if 'annotations' not in changes:
        content['annotations'] = []
    with pytest.raises(ValueError, match=rf'coco\.json: .*{message}'):
        read(content, test_mode=True)


def test_synonyms_of_another_form_are_named(read):
    content = copy.deepcopy(CONTENT)
    content['categories'][0]['synonyms'] = 'owl'
    with pytest.raises(ValueError, match=r"coco\.json: category 'owl' has synonyms 'owl'"):
        read(content, OVLVISDataset)


@pytest.mark.parametrize('segmentation', [None, [], [[]]])
def test_boxes_without_masks_work_from_a_pipeline_for_masks(read, segmentation, tmp_path):
    cv2.imwrite(str(tmp_path / '1.jpg'), np.zeros((10, 20, 3), np.uint8))
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs', meta_keys=('img_id',)),
    ]
    content = dict(CONTENT, annotations=[box(segmentation=segmentation), box(id=2)])
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = read(content, pipeline=pipeline, masks_required=False)
        found = dataset[0]['data_samples'].gt_instances
        assert len(found.bboxes) == 2 and 'masks' not in found
        whole = read(dict(CONTENT, annotations=[box()]), pipeline=pipeline, masks_required=False)
        assert len(whole[0]['data_samples'].gt_instances.masks) == 1

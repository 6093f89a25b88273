import json

import pytest
from mmdet.datasets import CocoDataset

from mmovsam.datasets import OVCocoDataset
from mmovsam.datasets.ov_coco import BASE_CLASSES, NOVEL_CLASSES

NAMES = CocoDataset.METAINFO['classes']


@pytest.fixture
def read(tmp_path):
    content = dict(
        images=[dict(id=1, width=20, height=10, file_name='1.jpg')],
        # COCO's ids have gaps; doubled here.
        categories=[dict(id=2 * i + 1, name=name) for i, name in enumerate(NAMES)],
        annotations=[
            dict(
                id=i,
                image_id=1,
                category_id=2 * NAMES.index(name) + 1,
                area=4.0,
                bbox=[0, 0, 2, 2],
                segmentation=[[0, 0, 2, 0, 2, 2]],
                iscrowd=int(name == 'person'),
            )
            for i, name in enumerate(('person', 'bus', 'traffic light', 'toothbrush'))
        ],
    )
    (tmp_path / 'coco.json').write_text(json.dumps(content))
    return lambda **kwargs: OVCocoDataset(
        data_root=str(tmp_path), ann_file='coco.json', data_prefix=dict(img=''), **kwargs
    )


def test_48_base_and_17_novel_classes_are_cocos_own_names():
    assert (len(set(BASE_CLASSES)), len(set(NOVEL_CLASSES))) == (48, 17)
    assert set(BASE_CLASSES + NOVEL_CLASSES) <= set(NAMES)


def test_classes_follow_the_order_of_cocos_ids(read):
    info = read().metainfo
    positions = [NAMES.index(name) for name in info['classes']]
    assert positions == sorted(positions)
    assert len(positions) == len(info['novel']) == len(info['palette']) == 65
    novel = {name for name, is_novel in zip(info['classes'], info['novel']) if is_novel}
    assert novel == set(NOVEL_CLASSES)


def test_fewer_classes_keep_what_is_novel_among_them(read):
    info = read(metainfo=dict(classes=('bus', 'person'))).metainfo
    assert info['novel'] == (True, False)
    assert len(info['palette']) == 2


def test_annotations_of_the_other_15_classes_are_left_out(read):
    dataset = read()
    instances = dataset.get_data_info(0)['instances']
    names = [dataset.metainfo['classes'][i['bbox_label']] for i in instances]
    assert names == ['person', 'bus', 'toothbrush']
    assert [i['ignore_flag'] for i in instances] == [1, 0, 0]


def test_the_other_15_classes_are_neither_base_nor_novel_if_asked_for(read):
    classes = ('bus', 'traffic light', 'person')
    assert read(metainfo=dict(classes=classes)).metainfo['novel'] == (True, None, False)
    dataset = read(metainfo=dict(classes=classes), base_only=True)
    assert [i['bbox_label'] for i in dataset.get_data_info(0)['instances']] == [2]


# Classes that a file has not


def test_absent_classes_have_no_objects_and_keep_the_labels_of_the_others(read):
    classes = ('unicorn', 'bus', 'dragon', 'toothbrush')
    dataset = read(metainfo=dict(classes=classes), absent_classes=True)
    info = dataset.metainfo
    assert info['classes'] == classes and len(info['palette']) == 4
    assert info['novel'] == (None, True, None, False)
    labels = [i['bbox_label'] for i in dataset.get_data_info(0)['instances']]
    assert sorted(labels) == [1, 3]


def test_absent_classes_are_an_error_unless_they_are_allowed(read):
    with pytest.raises(ValueError, match="no category named 'unicorn'"):
        read(metainfo=dict(classes=('unicorn', 'bus')))


def test_classes_that_are_all_absent_are_an_error(read):
    with pytest.raises(ValueError, match="no category named 'unicorn', 'dragon'"):
        read(metainfo=dict(classes=('unicorn', 'dragon')), absent_classes=True)

import json

import pytest
from mmdet.registry import DATASETS


@pytest.fixture
def read(tmp_path):
    content = dict(
        images=[dict(id='a', width=20, height=10, file_name='park/a.jpg')],
        categories=[dict(id=i, name=name) for i, name in ((7, 'pram'), (2, 'owl'), (5, 'plum'))],
        annotations=[
            dict(image_id='a', category_id=i, bbox=[1, 1, 5, 5], segmentation=[[1, 1, 6, 1, 6, 6]])
            for i in (7, 2, 5)
        ],
    )
    (tmp_path / 'any.json').write_text(json.dumps(content))
    (tmp_path / 'images' / 'park').mkdir(parents=True)
    return lambda **kwargs: DATASETS.build(
        dict(type='CocoJsonDataset', data_root=str(tmp_path), ann_file='any.json',
             data_prefix=dict(img='images'), serialize_data=False, **kwargs)
    )  # fmt: skip


def labels(dataset):
    return [each['bbox_label'] for each in dataset.get_data_info(0)['instances']]


def test_classes_are_those_of_the_file_without_a_split(read, tmp_path):
    dataset = read()
    assert dataset.metainfo['classes'] == ('owl', 'plum', 'pram')
    assert 'novel' not in dataset.metainfo
    assert len(dataset.metainfo['palette']) == 3
    assert labels(dataset) == [2, 0, 1]
    assert dataset.get_data_info(0)['img_path'] == str(tmp_path / 'images' / 'park' / 'a.jpg')


def test_named_classes_are_novel_and_the_others_base(read):
    assert read(novel=['plum']).metainfo['novel'] == (False, True, False)
    assert labels(read(novel=['plum'], base_only=True)) == [2, 0]


def test_given_classes_keep_what_is_novel_among_them(read):
    dataset = read(novel=['plum', 'pram'], metainfo=dict(classes=('pram', 'owl')))
    assert dataset.metainfo['novel'] == (True, False)
    assert labels(dataset) == [0, 1]


def test_a_novel_name_that_is_no_class_is_named(read):
    with pytest.raises(ValueError, match=r"any\.json: novel has 'plumm', which is no class.*'owl'"):
        read(novel=['plumm'])

import pytest
import torch
from mmdet.registry import DATASETS

from mmovsam.datasets import MiniWorldPictures


def test_items_are_pictures_with_their_label_and_name():
    dataset = DATASETS.build(dict(type='MiniWorldPictures', num_images=5, seed=3, image_size=64))
    assert len(dataset) == 5
    for index in range(5):
        item = dataset[index]
        assert item['inputs'].shape == (3, 64, 64)
        assert item['inputs'].dtype == torch.uint8
        assert dataset.metainfo['classes'][item['category']] == item['name']


def test_an_item_depends_on_seed_and_index_only():
    short, long = MiniWorldPictures(3, seed=1), MiniWorldPictures(10**9, seed=1)
    assert torch.equal(short[2]['inputs'], long[2]['inputs'])
    assert torch.equal(short[-1]['inputs'], short[2]['inputs'])
    assert not torch.equal(short[1]['inputs'], short[2]['inputs'])
    assert not torch.equal(MiniWorldPictures(3, seed=2)[2]['inputs'], short[2]['inputs'])


def test_an_index_behind_the_end_is_an_index_error():
    with pytest.raises(IndexError):
        MiniWorldPictures(3)[3]


@pytest.mark.parametrize('arguments', [dict(num_images=0), dict(num_images=1, seed=-1)])
def test_impossible_arguments_are_a_value_error(arguments):
    with pytest.raises(ValueError, match='expected num_images'):
        MiniWorldPictures(**arguments)

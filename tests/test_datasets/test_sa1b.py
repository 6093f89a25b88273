import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from mmovsam.datasets import SA1BDataset


@pytest.fixture
def root(tmp_path):
    mask = np.zeros((10, 20), np.uint8, order='F')
    mask[2:6, 1:4] = 1
    rle = mask_utils.encode(mask)
    segmentation = dict(size=rle['size'], counts=rle['counts'].decode())
    for folder, number in (('sa_000000', 2), ('sa_000000', 1), ('sa_000001', 30)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f'sa_{number}.jpg').write_bytes(b'')
        annotation = dict(id=1, bbox=[1, 2, 3, 4], area=12, segmentation=segmentation)
        image = dict(image_id=number, width=20, height=10, file_name=f'sa_{number}.jpg')
        content = dict(image=image, annotations=[annotation])
        (tmp_path / folder / f'sa_{number}.json').write_text(json.dumps(content))
    (tmp_path / 'sa_000000' / 'readme.txt').write_text('not an image')
    return tmp_path


def test_images_of_the_folders_or_a_list_come_in_order_with_their_masks_or_without(root):
    folders = ['sa_000000', 'sa_000001']
    for text, ids in (('', [1, 2, 30]), ('sa_30.jpg\nsa_1.jpg\n\n', [30, 1])):
        (root / 'list.txt').write_text(text)
        chosen = dict(ann_file='list.txt') if text else {}
        dataset = SA1BDataset(data_root=str(root), folders=folders, **chosen)
        assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == ids
    assert dataset.metainfo['classes'] == ('object',)
    info = SA1BDataset(data_root=str(root), folders='sa_000001').get_data_info(0)
    (instance,) = info['instances']
    assert (info['height'], info['width'], instance['bbox']) == (10, 20, [1, 2, 4, 6])
    assert instance['bbox_label'] == 0 and mask_utils.decode(instance['mask']).sum() == 12
    for path in root.rglob('*.json'):
        path.unlink()
    dataset = SA1BDataset(data_root=str(root), folders=['sa_000000'], with_annotations=False)
    assert [dataset.get_data_info(i)['instances'] for i in range(len(dataset))] == [[], []]


def test_missing_folders_and_images_are_named_in_one_message(root, tmp_path):
    (root / 'list.txt').write_text('sa_99.jpg\n')
    with pytest.raises(FileNotFoundError, match=r'sa_99\.jpg, listed in .*list\.txt'):
        SA1BDataset(data_root=str(root), folders=['sa_000000'], ann_file='list.txt')
    with pytest.raises(FileNotFoundError, match='(?s)sa_7.*sa_8') as error:
        SA1BDataset(data_root=str(root), folders=['sa_000000', 'sa_7', 'sa_8'])
    assert 'sa_000000' not in str(error.value)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match=r'no sa_\*\.jpg in'):
        SA1BDataset(data_root=str(tmp_path / 'empty'))


@pytest.mark.parametrize(
    'text', ['{"image": {"width": 3', '{"image": {"width": 3}}', '{"annotations": 3}', '[]']
)
def test_a_broken_annotation_file_is_named(root, text):
    (root / 'sa_000001' / 'sa_30.json').write_text(text)
    with pytest.raises(ValueError, match=r'sa_30\.json'):
        SA1BDataset(data_root=str(root), folders=['sa_000001']).get_data_info(0)

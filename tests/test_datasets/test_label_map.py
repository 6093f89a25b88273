import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope
from PIL import Image
from pycocotools import mask as mask_utils

from mmovsam.datasets.label_map import read_names

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]


def label_map():
    """Two plums, of which two halves touch at a corner, one owl, void pixels, background."""
    values = np.zeros((20, 30), np.uint8)
    values[1:5, 1:5] = values[5:8, 5:8] = 1
    values[10:15, 10:20] = 1
    values[0:4, 20:26] = 2
    values[19] = 255
    return values


def write(folder, name, values, palette=False):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette([255 - i // 3 for i in range(768)])
    image.save(path)


@pytest.fixture
def root(tmp_path):
    write(tmp_path, 'images/park/a.jpg', np.zeros((20, 30, 3), np.uint8))
    write(tmp_path, 'labels/park/a.png', label_map())
    (tmp_path / 'names.txt').write_text('background\nplum\nowl\n')
    return tmp_path


def read(root, **kwargs):
    kwargs = dict(
        dict(names_file='names.txt', ignore_index=(0, 255), serialize_data=False), **kwargs
    )
    prefix = kwargs.pop('data_prefix', dict(img='images', seg='labels'))
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(
            dict(type='LabelMapDataset', data_root=str(root), data_prefix=prefix, **kwargs)
        )


def objects(dataset, index=0):
    """(class, box) of every object."""
    info = dataset.get_data_info(index)
    names = dataset.metainfo['classes']
    return [(names[each['bbox_label']], each['bbox']) for each in info['instances']]


def test_each_connected_piece_of_a_class_is_an_object(root):
    dataset = read(root)
    assert dataset.metainfo['classes'] == ('plum', 'owl')
    assert len(dataset.metainfo['palette']) == 2 and 'novel' not in dataset.metainfo
    assert objects(dataset) == [
        ('plum', [1, 1, 8, 8]),
        ('plum', [10, 10, 20, 15]),
        ('owl', [20, 0, 26, 4]),
    ]


def test_all_pixels_of_a_class_are_one_object_on_request(root):
    dataset = read(root, regions='classes')
    assert objects(dataset) == [('plum', [1, 1, 20, 15]), ('owl', [20, 0, 26, 4])]
    mask = mask_utils.decode(dataset.get_data_info(0)['instances'][0]['mask'])
    np.testing.assert_array_equal(mask, label_map() == 1)


def test_values_of_instance_maps_hold_class_and_number(root):
    values = np.zeros((20, 30), np.int32)
    values[:5, :5], values[:5, 5:9], values[8:12, 8:12], values[19] = 1001, 1002, 2000, 255
    write(root, 'labels/park/a.png', values.astype(np.uint16))
    assert objects(read(root, regions='instances')) == [
        ('plum', [0, 0, 5, 5]),
        ('plum', [5, 0, 9, 5]),
        ('owl', [8, 8, 12, 12]),
    ]


def test_samples_are_those_of_the_pipeline(root):
    item = read(root, pipeline=PIPELINE)[0]
    instances = item['data_samples'].gt_instances
    assert instances.labels.tolist() == [0, 0, 1]
    assert instances.masks.masks.sum() == ((label_map() == 1) | (label_map() == 2)).sum()
    assert item['data_samples'].img_id == 'park/a.jpg'


def test_novel_classes_are_told_and_left_out_on_request(root):
    assert read(root, novel=['owl']).metainfo['novel'] == (False, True)
    dataset = read(root, novel=['owl'], base_only=True)
    assert dataset.metainfo['classes'] == ('plum', 'owl')
    assert {name for name, _ in objects(dataset)} == {'plum'}


def test_classes_alone_name_the_values_in_their_order(root):
    dataset = read(root, names_file='', metainfo=dict(classes=('background', 'plum', 'owl')))
    assert dataset.metainfo['classes'] == ('plum', 'owl')
    assert len(objects(dataset)) == 3


def test_classes_choose_among_those_that_the_file_names(root):
    dataset = read(root, metainfo=dict(classes=('owl',)))
    assert objects(dataset) == [('owl', [20, 0, 26, 4])]
    with pytest.raises(ValueError, match=r"'background', which .*names\.txt does not name"):
        read(root, metainfo=dict(classes=('owl', 'background')))


def test_an_empty_line_and_a_json_file_leave_values_without_a_class(root):
    (root / 'names.txt').write_text('\nplum\nowl\n')
    assert len(objects(read(root, ignore_index=255))) == 3
    (root / 'names.json').write_text('{"2": "owl", "1": "plum"}')
    dataset = read(root, names_file='names.json')
    assert dataset.metainfo['classes'] == ('plum', 'owl')


def test_a_list_chooses_and_orders_images_with_suffix_or_without(root):
    for name in 'bc':
        write(root, f'images/{name}.png', np.zeros((20, 30, 3), np.uint8))
        write(root, f'labels/{name}.png', label_map())
    (root / 'val.txt').write_text('c\nb.png\n\n')
    assert [read(root)[i]['img_id'] for i in range(3)] == ['b.png', 'c.png', 'park/a.jpg']
    dataset = read(root, ann_file='val.txt')
    assert [dataset[i]['img_id'] for i in range(2)] == ['c.png', 'b.png']


def test_images_and_label_maps_of_one_folder_differ_in_their_suffixes(tmp_path):
    write(tmp_path, 'park/a_img.png', np.zeros((20, 30, 3), np.uint8))
    write(tmp_path, 'park/a_gt.png', label_map())
    (tmp_path / 'names.txt').write_text('background\nplum\nowl\n')
    dataset = read(
        tmp_path, data_prefix=dict(img='', seg=''), img_suffix='_img.png', seg_map_suffix='_gt.png'
    )
    assert len(dataset) == 1 and len(objects(dataset)) == 3


# What is wrong is named


def test_missing_folders_and_names_are_named_in_one_message(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        read(tmp_path)
    for name in ('images', 'labels', 'names.txt'):
        assert str(tmp_path / name) in str(error.value)


def test_an_image_without_label_map_is_named(root):
    (root / 'labels' / 'park' / 'a.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 1 images have no label map.*a\.png'):
        read(root)


def test_a_listed_image_that_is_missing_is_named(root):
    (root / 'val.txt').write_text('z.jpg\n')
    with pytest.raises(FileNotFoundError, match=r'z\.jpg, listed in .*val\.txt'):
        read(root, ann_file='val.txt')


def test_a_folder_without_images_is_named(root):
    with pytest.raises(ValueError, match=r'no image to read: .*images has no name .*\.tif'):
        read(root, img_suffix='.tif')


def test_a_value_without_a_name_is_named(root):
    (root / 'names.txt').write_text('background\nplum\n')
    with pytest.raises(ValueError, match=r'a\.png has pixels of class 2.*names\.txt.*\[0, 255\]'):
        read(root).get_data_info(0)


@pytest.mark.parametrize('kept', [0, 0.5])
def test_a_truncated_label_map_is_named(root, kept):
    path = root / 'labels' / 'park' / 'a.png'
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=r'a\.png is truncated or no image'):
        read(root).get_data_info(0)


def test_a_label_map_of_colors_is_named(root):
    write(root, 'labels/park/a.png', np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ValueError, match=r'a\.png has colors \(mode RGB\).*one channel'):
        read(root).get_data_info(0)


def test_a_label_map_of_another_size_is_named(root):
    write(root, 'labels/park/a.png', label_map()[:10])
    with pytest.raises(ValueError, match=r'a\.jpg is 30x20 pixels, its annotation says 30x10'):
        read(root, pipeline=PIPELINE, test_mode=True)[0]


@pytest.mark.parametrize(
    'name, text, message',
    [
        ('n.txt', '\n\n', 'has no name'),
        ('n.txt', 'owl\nowl\n', 'has a name twice'),
        ('n.json', '{"one": "owl"}', 'no list of names'),
        ('n.json', '{"1": 5}', 'no list of names'),
        ('n.json', '[]', 'holds a list'),
    ],
)
def test_a_broken_file_of_names_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf'{name}.*{message}'):
        read_names(str(tmp_path / name))


def test_no_names_at_all_are_refused(root):
    with pytest.raises(ValueError, match='needs the names of the values'):
        read(root, names_file='')


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(regions='pieces'), "regions is 'pieces', expected one of 'components'"),
        (dict(novel=['plumm']), "'plumm', which is no class"),
    ],
)
def test_impossible_arguments_are_named(root, change, message):
    with pytest.raises(ValueError, match=message):
        read(root, **change)

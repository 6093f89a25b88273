import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope
from PIL import Image
from pycocotools import mask as mask_utils

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


def write_text(name, text):
    return lambda root: (root / name).write_text(text)


def write_map(values):
    return lambda root: write(root, 'labels/park/a.png', values)


def cut_map(kept):
    def cut(root):
        path = root / 'labels' / 'park' / 'a.png'
        path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])

    return cut


@pytest.mark.parametrize(
    ('change', 'settings', 'message'),
    [
        (None, dict(img_suffix='.tif'), r'no image to read: .*images has no name .*\.tif'),
        (None, dict(names_file=''), 'needs the names of the values'),
        (None, dict(regions='pieces'), "regions is 'pieces', expected one of 'components'"),
        (None, dict(novel=['plumm']), "'plumm', which is no class"),
        (write_text('names.txt', 'background\nplum\n'), {}, r'a\.png has .* class 2.*\[0, 255\]'),
        (write_text('names.txt', '\n\n'), {}, r'names\.txt has no name'),
        (write_text('names.txt', 'owl\nowl\n'), {}, r'names\.txt has a name twice'),
        (write_text('n.json', '{"one": "owl"}'), dict(names_file='n.json'), 'no list of names'),
        (write_text('n.json', '{"1": 5}'), dict(names_file='n.json'), 'no list of names'),
        (write_text('n.json', '[]'), dict(names_file='n.json'), r'n\.json.*holds a list'),
        (cut_map(0), {}, r'a\.png is truncated or no image'),
        (cut_map(0.5), {}, r'a\.png is truncated or no image'),
        (write_map(np.zeros((20, 30, 3), np.uint8)), {}, r'a\.png has colors \(mode RGB\)'),
        (write_map(label_map()[:10]), {}, r'a\.jpg is 30x20 pixels, its annotation says 30x10'),
    ],
)
def test_wrong_files_and_settings_are_named(root, change, settings, message):
    if change is not None:
        change(root)
    with pytest.raises(ValueError, match=message):
        read(root, pipeline=PIPELINE, test_mode=True, **settings)[0]


def test_missing_files_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        read(tmp_path / 'none')
    for name in ('images', 'labels', 'names.txt'):
        assert str(tmp_path / 'none' / name) in str(error.value)
    (root / 'val.txt').write_text('z.jpg\n')
    with pytest.raises(FileNotFoundError, match=r'z\.jpg, listed in .*val\.txt'):
        read(root, ann_file='val.txt')
    dataset = read(root)
    (root / 'labels' / 'park' / 'a.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'a\.png is missing'):
        dataset.get_data_info(0)
    with pytest.raises(FileNotFoundError, match=r'1 of 1 images have no label map.*a\.png'):
        read(root)

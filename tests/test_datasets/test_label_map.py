import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope
from PIL import Image

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]


MAP = 'labels/park/a.png'


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


PLUMS = [('plum', [1, 1, 8, 8]), ('plum', [10, 10, 20, 15])]
OWL = ('owl', [20, 0, 26, 4])
BOTH = ('plum', 'owl')
NAMED = dict(classes=('background', 'plum', 'owl'))


@pytest.mark.parametrize(
    'names, settings, classes, found',
    [
        # each connected piece of a class is an object, or all of its pixels are
        (None, {}, BOTH, [*PLUMS, OWL]),
        (None, dict(regions='classes'), BOTH, [('plum', [1, 1, 20, 15]), OWL]),
        # novel classes are left out on request
        (None, dict(novel=['owl']), BOTH, [*PLUMS, OWL]),
        (None, dict(novel=['owl'], base_only=True), BOTH, PLUMS),
        # classes name the values in their order, or choose among those of the file
        (None, dict(names_file='', metainfo=NAMED), BOTH, [*PLUMS, OWL]),
        (None, dict(metainfo=dict(classes=('owl',))), ('owl',), [OWL]),
        # values without a class
        ('\nplum\nowl\n', dict(ignore_index=255), BOTH, [*PLUMS, OWL]),
    ],
)
def test_pieces_of_a_class_are_objects_and_settings_choose_them(
    root, names, settings, classes, found
):
    if names:
        (root / 'names.txt').write_text(names)
    dataset = read(root, **settings)
    assert dataset.metainfo['classes'] == classes
    assert len(dataset.metainfo['palette']) == len(classes)
    assert dataset.metainfo.get('novel') == ((False, True) if 'novel' in settings else None)
    assert objects(dataset) == found


def test_values_of_instance_maps_hold_class_and_number(root):
    values = np.zeros((20, 30), np.uint16)
    values[:5, :5], values[:5, 5:9], values[8:12, 8:12], values[19] = 1001, 1002, 2000, 255
    write(root, MAP, values)
    plums, owl = [('plum', [0, 0, 5, 5]), ('plum', [5, 0, 9, 5])], ('owl', [8, 8, 12, 12])
    assert objects(read(root, regions='instances')) == [*plums, owl]


def test_samples_are_those_of_the_pipeline_and_suffixes_pair_images_with_label_maps(root):
    write(root, 'both/b_img.png', np.zeros((20, 30, 3), np.uint8))
    write(root, 'both/b_gt.png', label_map())
    prefix = dict(img='both', seg='both')
    suffixes = dict(data_prefix=prefix, img_suffix='_img.png', seg_map_suffix='_gt.png')
    for settings, name in (({}, 'park/a.jpg'), (suffixes, 'b_img.png')):
        (item,) = read(root, pipeline=PIPELINE, **settings)
        instances = item['data_samples'].gt_instances
        assert instances.labels.tolist() == [0, 0, 1]
        assert instances.masks.masks.sum() == ((label_map() == 1) | (label_map() == 2)).sum()
        assert item['data_samples'].img_id == name


def test_a_list_chooses_and_orders_images_with_suffix_or_without(root):
    for name in 'bc':
        write(root, f'images/{name}.png', np.zeros((20, 30, 3), np.uint8))
        write(root, f'labels/{name}.png', label_map())
    (root / 'val.txt').write_text('c\nb.png\n\n')
    assert [read(root)[i]['img_id'] for i in range(3)] == ['b.png', 'c.png', 'park/a.jpg']
    dataset = read(root, ann_file='val.txt')
    assert [dataset[i]['img_id'] for i in range(2)] == ['c.png', 'b.png']


@pytest.mark.parametrize(
    ('file', 'content', 'settings', 'message'),
    [
        (None, None, dict(img_suffix='.tif'), r'no image to read: .*images has no name .*\.tif'),
        (None, None, dict(names_file=''), 'needs the names of the values'),
        (None, None, dict(regions='pieces'), "regions is 'pieces'; choose one of components"),
        (None, None, dict(novel=['plumm']), "'plumm', which is no class"),
        (None, None, dict(metainfo=NAMED), r"'background', which .*names\.txt does not name"),
        ('names.txt', 'background\nplum\n', {}, r'a\.png has .* class 2.*\[0, 255\]'),
        ('names.txt', '\n\n', {}, r'names\.txt has no name'),
        ('names.txt', 'owl\nowl\n', {}, r'names\.txt has a name twice'),
        (MAP, 0.5, {}, r'a\.png is truncated or no image'),
        (MAP, np.zeros((20, 30, 3), np.uint8), {}, r'a\.png has colors \(mode RGB\)'),
        (MAP, label_map()[:10], {}, r'a\.jpg is 30x20 pixels, its annotation says 30x10'),
    ],
)
def test_wrong_files_and_settings_are_named(root, file, content, settings, message):
    if isinstance(content, str):
        (root / file).write_text(content)
    elif isinstance(content, float):  # so much of it is left
        data = (root / file).read_bytes()
        (root / file).write_bytes(data[: int(content * len(data))])
    elif file:
        write(root, file, content)
    with pytest.raises(ValueError, match=message):
        read(root, pipeline=PIPELINE, test_mode=True, **settings)[0]


def test_missing_files_are_named(root):
    with pytest.raises(FileNotFoundError, match='(?s)none/names.txt.*none/images.*none/labels'):
        read(root / 'none')
    (root / 'val.txt').write_text('z.jpg\n')
    with pytest.raises(FileNotFoundError, match=r'z\.jpg, listed in .*val\.txt'):
        read(root, ann_file='val.txt')
    dataset = read(root)
    (root / MAP).unlink()
    with pytest.raises(FileNotFoundError, match=r'a\.png is missing'):
        dataset.get_data_info(0)
    with pytest.raises(FileNotFoundError, match=r'1 of 1 images have no label map.*a\.png'):
        read(root)

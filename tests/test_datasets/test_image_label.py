import numpy as np
import pytest
from mmdet.registry import DATASETS
from PIL import Image

from mmovsam.fileio import mark_results
from mmovsam.vocabulary.sources import read_metainfo

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_shape', 'true_labels')),
]


def picture(path, size=(20, 10), exif=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path, **({} if exif is None else dict(exif=exif)))


def build(folder, **kwargs):
    return DATASETS.build(
        dict(type='ImageLabelDataset', data_root=str(folder), **{'pipeline': PIPELINE, **kwargs})
    )


def labels(dataset):
    return [dataset.get_data_info(i)['true_labels'] for i in range(len(dataset))]


def names(dataset):
    return [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]


@pytest.fixture
def folders(tmp_path):
    for path in ('red_car/b.jpg', 'red_car/deep/a.PNG', 'owl/1.jpg', 'owl/notes.txt'):
        picture(tmp_path / path) if path[-3:] != 'txt' else (tmp_path / path).write_text('no')
    return tmp_path


def test_folders_are_classes_and_their_subfolders_belong_to_them(folders):
    for made in ('owl/shown/1.jpg', 'shown/owl/1.jpg'):  # pictures that a run made are none
        picture(folders / made)
    for results in ('owl/shown', 'shown'):
        mark_results(folders / results)
    dataset = build(folders)
    assert dataset.metainfo['classes'] == ('owl', 'red_car')
    assert names(dataset) == ['owl/1.jpg', 'red_car/b.jpg', 'red_car/deep/a.PNG']
    assert labels(dataset) == [(0,), (1,), (1,)]
    assert dataset.class_counts.tolist() == [1, 2]


def test_the_whole_image_as_it_is_shown_is_the_region(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(tmp_path / 'owl' / '1.jpg', (20, 10), turned)
    item = build(tmp_path)[0]
    assert item['inputs'].shape == (3, 64, 32)
    instances = item['data_samples'].gt_instances
    assert instances.bboxes.tensor.tolist() == [[0, 0, 32, 64]]
    assert instances.labels.tolist() == [0] and 'masks' not in instances


def test_given_classes_are_found_by_any_of_their_names(folders):
    classes = folders / 'classes.txt'
    classes.write_text('barn owl, owl\nplum\nautomobile, red car\n')
    dataset = build(folders, classes=str(classes))
    assert dataset.metainfo['classes'] == ('barn owl, owl', 'plum', 'automobile, red car')
    assert labels(dataset) == [(0,), (2,), (2,)]
    assert dataset.class_counts.tolist() == [1, 0, 2]
    assert labels(build(folders, classes=['red car', 'owl'])) == [(1,), (0,), (0,)]
    with pytest.raises(ValueError, match="has 'owl', which is no class; the 1000 classes begin"):
        build(folders, classes='imagenet1k')


@pytest.mark.parametrize('word, num', [('imagenet1k', 1000), ('imagenet22k', 21841)])
def test_imagenets_folders_are_classes_by_their_ids_or_names(tmp_path, word, num):
    crane, snail, goldfish = 'n02012849', 'n01944390', 'goldfish'  # the first is a homonym
    for folder in (crane, snail, goldfish):
        picture(tmp_path / folder / '1.jpg')
    dataset = build(tmp_path, classes=word)
    classes = dataset.metainfo['classes']
    assert classes == tuple(read_metainfo(word)['classes']) and len(classes) == num
    assert [classes[label] for (label,) in labels(dataset)] == [
        'goldfish, Carassius auratus',
        'snail',
        f'crane ({crane})',
    ]
    assert f'crane ({crane})' in dataset.metainfo['prompts']


def test_list_gives_each_image_one_label_or_several(tmp_path):
    for name in ('a.png', 'b.png'):
        picture(tmp_path / 'all' / name)
    (tmp_path / 'list.tsv').write_text('b.png\towl\n\na.png\tred car\towl\towl\n')
    dataset = build(tmp_path, ann_file='list.tsv', data_prefix=dict(img='all'))
    assert dataset.metainfo['classes'] == ('owl', 'red car')
    assert labels(dataset) == [(0,), (1, 0)] and names(dataset) == ['b.png', 'a.png']
    assert dataset.class_counts.tolist() == [2, 1]
    sample = dataset[1]['data_samples']
    assert sample.gt_instances.labels.tolist() == [1, 0] and sample.true_labels == (1, 0)
    assert (sample.gt_instances.bboxes.tensor == sample.gt_instances.bboxes.tensor[0]).all()


@pytest.mark.parametrize(
    'lines, message',
    [
        ('a.png\towl\nb.png owl\n', "entry 2: 'b.png owl' is not an image, a tab and a label"),
        ('a.png\towl\t\tplum\n', 'entry 1'),
        ('', 'is empty'),
        ('a.png\teagle\n', "has 'eagle', which is no class; the 3 classes begin with 'owl'"),
        ('a.png\tbow\n', "could be 'bow, weapon' or 'bow, ribbon': write which"),
    ],
)
def test_unreadable_line_and_unknown_or_ambiguous_label_are_named(tmp_path, lines, message):
    (tmp_path / 'list.tsv').write_text(lines)
    with pytest.raises(ValueError, match=message):
        build(tmp_path, ann_file='list.tsv', classes=['owl', 'bow, weapon', 'bow, ribbon'])


def test_files_and_folders_that_are_missing_broken_or_not_of_classes_are_refused(tmp_path):
    (tmp_path / 'list.tsv').write_text('a.png\towl\nb.png\towl\n')
    (tmp_path / 'b.png').write_bytes(b'nothing')
    dataset = build(tmp_path, ann_file='list.tsv')
    with pytest.raises(FileNotFoundError, match=r'a\.png is missing'):
        dataset[0]
    with pytest.raises(ValueError, match=r'b\.png is truncated or no image'):
        dataset[1]
    picture(tmp_path / 'a.png')
    assert build(tmp_path, ann_file='list.tsv', damaged='skip')[1]['data_samples'].img_id == 'a.png'
    (tmp_path / 'a.png').unlink(), (tmp_path / 'b.png').unlink()
    (tmp_path / 'owl').mkdir()
    with pytest.raises(ValueError, match=r'has no folder with images whose names end with \.jpg'):
        build(tmp_path)
    picture(tmp_path / 'loose.jpg')
    with pytest.raises(ValueError, match=r'loose\.jpg lies in no folder of a class'):
        build(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'(?s)2 files or folders.*absent.*none\.tsv'):
        build(tmp_path, data_prefix=dict(img='absent'), ann_file='none.tsv')

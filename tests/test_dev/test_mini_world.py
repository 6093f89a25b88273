"""The small world: categories, scenes, pictures, and the files and data sets of them."""

from itertools import combinations, product

import cv2
import numpy as np
import pytest
import torch
from mini_world import CATEGORIES, SPLITS, draw_scene, write_pictures, write_split, writer
from mini_world.clip_training import MiniWorldPictures
from mini_world.drawing import draw_object
from mini_world.writer import scene_rng
from mmdet.registry import DATASETS
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from mmovsam.datasets.mini_world import COLORS, PATTERNS, SHAPES

NOVEL = {category.id for category in CATEGORIES if category.novel}


def rng(*seed):
    return np.random.default_rng(seed)


def contents(folder):
    paths = [path for path in folder.rglob('*') if path.is_file() and path.suffix != '.lock']
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_fifth_of_640_categories_is_novel_and_base_ones_have_every_pair_of_attributes():
    assert len({category.name for category in CATEGORIES}) == 640 and len(NOVEL) == 128
    letters = [category.frequency for category in CATEGORIES]
    assert (letters.count('r'), letters.count('c'), letters.count('f')) == (128, 256, 256)
    base = [category for category in CATEGORIES if not category.novel]
    sizes = dict(pattern=len(PATTERNS), color=len(COLORS), shape=len(SHAPES))
    for first, second in combinations(sizes, 2):
        seen = {(getattr(category, first), getattr(category, second)) for category in base}
        assert seen == set(product(range(sizes[first]), range(sizes[second])))


def test_digits_of_the_test_split_are_none_of_the_training_ones():
    category = next(each for each in CATEGORIES if each.name == 'plain red digit two')
    drawn = [
        {draw_object(rng(seed), category, 64, 0.0, held_out)[1].tobytes() for seed in range(300)}
        for held_out in (False, True)
    ]
    assert drawn[0].isdisjoint(drawn[1]) and min(map(len, drawn)) >= 10


@pytest.mark.parametrize('split', SPLITS)
def test_scenes_have_three_to_ten_visible_objects_a_third_novel_outside_of_training(split):
    scenes = [draw_scene(rng(7, i), split) for i in range(40)]
    for scene in scenes:
        height, width, channels = scene.image.shape
        assert (max(height, width), channels) == (320, 3) and min(height, width) >= 224
        assert 3 <= len(scene.category_ids) <= 10
        assert scene.masks.shape == (len(scene.category_ids), height, width)
        assert scene.masks.sum(axis=0).max() <= 1, 'no two overlap'
        assert scene.masks.sum(axis=(1, 2)).min() >= 200
    share = np.mean([i in NOVEL for scene in scenes for i in scene.category_ids])
    assert share == 0 if split == 'train' else 0.23 < share < 0.43


def test_pictures_of_a_data_set_depend_on_seed_and_index_only():
    short = DATASETS.build(dict(type='MiniWorldPictures', num_images=3, seed=1, image_size=64))
    item = short[2]
    assert len(short) == 3 and item['inputs'].shape == (3, 64, 64)
    assert short.metainfo['classes'][item['category']] == item['name']
    assert torch.equal(item['inputs'], MiniWorldPictures(10**9, seed=1, image_size=64)[2]['inputs'])
    assert not torch.equal(short[1]['inputs'], item['inputs'])
    assert not torch.equal(MiniWorldPictures(3, 2, 64)[2]['inputs'], item['inputs'])


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('world')
    write_split(folder, 'test', 5, 11, progress=False)
    return folder


def test_a_scene_depends_on_the_seed_and_its_number_alone(world, tmp_path):
    write_split(tmp_path / 'same', 'test', 3, 11, progress=False)
    write_split(tmp_path / 'other', 'test', 3, 12, progress=False)
    for name in ('test/000001.jpg', 'test/000003.jpg'):
        same, other = ((tmp_path / kind / name).read_bytes() for kind in ('same', 'other'))
        assert (world / name).read_bytes() == same != other


def test_the_annotation_file_is_lvis_and_says_what_the_images_show(world):
    coco = COCO(world / 'annotations' / 'mini_test.json')
    for index in range(5):
        image = coco.imgs[index + 1]
        assert not image['not_exhaustive_category_ids']
        path = world / '/'.join(image['coco_url'].split('/')[-2:])
        assert cv2.imread(str(path)).shape[:2] == (image['height'], image['width'])
        scene = draw_scene(scene_rng(11, 'test', index), 'test')
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[index + 1]))
        assert [annotation['category_id'] for annotation in annotations] == scene.category_ids
        assert len(set(image['neg_category_ids']) - set(scene.category_ids)) == 8
        for annotation, mask in zip(annotations, scene.masks):
            np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), mask)
            assert annotation['area'] == mask.sum()
            assert annotation['bbox'] == list(cv2.boundingRect(mask.astype(np.uint8)))
    assert list(coco.cats) == list(range(1, 641))
    for category in coco.cats.values():
        assert {'frequency', 'synonyms', 'synset', 'def'} <= set(category)
        own = [a['image_id'] for a in coco.anns.values() if a['category_id'] == category['id']]
        assert (category['instance_count'], category['image_count']) == (len(own), len(set(own)))


def test_a_split_is_kept_if_complete_and_refused_if_not_unless_overwritten(tmp_path):
    def write(number, **more):
        write_split(tmp_path, 'val', number, 0, progress=False, **more)

    write(3)
    picture = tmp_path / 'val' / '000001.jpg'
    before = picture.read_bytes()
    picture.write_bytes(b'changed')
    write(3)
    assert picture.read_bytes() == b'changed'
    with pytest.raises(FileExistsError, match='--overwrite'):
        write(2)
    (tmp_path / 'annotations' / 'mini_val.json').unlink()
    with pytest.raises(FileExistsError):
        write(3)
    write(2, overwrite=True)
    names = {'annotations/mini_val.json', 'val/000001.jpg', 'val/000002.jpg'}
    assert set(contents(tmp_path)) == names and picture.read_bytes() == before


def test_an_interrupted_call_leaves_nothing_that_looks_complete(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_utils, 'encode', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_split(tmp_path, 'val', 2, 0, progress=False)
    monkeypatch.setattr('cv2.imencode', lambda *_: (False, None))
    with pytest.raises(OSError, match='could not encode 000000.jpg'):
        write_pictures(tmp_path / 'pictures', 4, 1, size=32, progress=False)
    assert not contents(tmp_path)


def test_pictures_lie_in_folders_of_their_classes_half_of_them_held_out(tmp_path):
    folder = tmp_path / 'pictures'
    write_pictures(folder, 24, 3, size=32, progress=False)
    config = dict(data_prefix=dict(img=str(folder)), classes='MiniWorldDataset')
    dataset = DATASETS.build(dict(type='ImageLabelDataset', **config))
    classes = dataset.metainfo['classes']
    assert classes == tuple(category.name for category in CATEGORIES)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    names = [info['img_id'].split('/')[0].replace('_', ' ') for info in infos]
    assert [classes[info['true_labels'][0]] for info in infos] == names and len(names) == 24
    assert cv2.imread(infos[0]['img_path']).shape == (32, 32, 3)
    shapes = tuple(pattern.removeprefix('* ') for pattern in writer.HELD_OUT)
    assert 4 <= sum(name.endswith(shapes) for name in names) <= 20


@pytest.mark.parametrize(
    ('call', 'arguments', 'message'),
    [
        (draw_scene, (rng(0), 'minival'), "'minival'.*'train', 'val', 'test'"),
        (write_split, ('x', 'minival', 3, 0), "train, val, test.*got 'minival'"),
        (write_split, ('x', 'val', 0, 0), 'num_images of at least 1'),
        (write_split, ('x', 'val', 3, -1), 'seed of at least 0'),
    ],
)
def test_impossible_arguments_are_named(call, arguments, message):
    with pytest.raises(ValueError, match=message):
        call(*arguments)


def test_the_tool_draws_what_it_is_asked_for_and_says_where_it_is(tmp_path, run_tool):
    arguments = ['make_mini_world.py', tmp_path / 'out', '--only', 'val', '--num-images', '2']
    status, out, err = run_tool(*arguments)
    assert status == 0, out + err
    assert out.splitlines()[-1] == f'val: in {tmp_path / "out" / "val"}'
    assert not (tmp_path / 'out' / 'train').exists()
    assert '--overwrite' in str(run_tool(*arguments, '--seed', '1'))

"""The small world: categories, objects, scenes, pictures, and the files and data sets of them."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from mmovsam.datasets import MiniWorldPictures
from mmovsam.datasets.mini_world import (
    CATEGORIES,
    COLORS,
    PATTERNS,
    SHAPES,
    SPLITS,
    draw_scene,
    lvis_categories,
    write_pictures,
    write_split,
    writer,
)
from mmovsam.datasets.mini_world.drawing import draw_object
from mmovsam.datasets.mini_world.writer import scene_rng

NOVEL = {category.id for category in CATEGORIES if category.novel}


def category_named(name):
    return next(category for category in CATEGORIES if category.name == name)


def rng(*seed):
    return np.random.default_rng(seed)


def test_a_fifth_of_640_categories_is_novel_and_the_others_half_common_half_frequent():
    assert len({category.name for category in CATEGORIES}) == 640 and len(NOVEL) == 128
    letters = [category.frequency for category in CATEGORIES]
    assert (letters.count('r'), letters.count('c'), letters.count('f')) == (128, 256, 256)
    categories = lvis_categories()
    assert [category['id'] for category in categories] == list(range(1, 641))
    for category in categories:
        assert set(category) == {'id', 'name', 'synonyms', 'synset', 'frequency', 'def'}


def test_every_pair_of_attributes_is_seen_among_base_categories():
    base = [category for category in CATEGORIES if not category.novel]
    sizes = dict(pattern=len(PATTERNS), color=len(COLORS), shape=len(SHAPES))
    for first, second in (('pattern', 'color'), ('pattern', 'shape'), ('color', 'shape')):
        seen = {(getattr(category, first), getattr(category, second)) for category in base}
        assert seen == set(product(range(sizes[first]), range(sizes[second])))


@pytest.mark.parametrize('shape', SHAPES)
def test_an_object_has_the_size_that_was_asked_for_and_antialiased_edges(shape):
    category = category_named(f'plain red {shape}')
    for size in (44, 150):
        _, alpha = draw_object(rng(0), category, size, 0.0)
        longest = max((alpha > 0.5).any(axis=axis).sum() for axis in (0, 1))
        assert 0.75 * size <= longest <= size * 1.1
    _, alpha = draw_object(rng(0), category, 80, 13.0)
    assert alpha.dtype == np.float32 and alpha.min() >= 0 and alpha.max() == 1
    assert 0 < np.mean((alpha > 0.02) & (alpha < 0.98)) < 0.25


# Objects


def test_digits_of_the_test_split_are_none_of_the_training_ones():
    category = category_named('plain red digit two')
    drawn = [
        {draw_object(rng(seed), category, 64, 0.0, held_out)[1].tobytes() for seed in range(300)}
        for held_out in (False, True)
    ]
    assert drawn[0].isdisjoint(drawn[1]) and min(map(len, drawn)) >= 10


# Scenes and pictures


@cache
def scenes(split):
    return [draw_scene(rng(7, i), split) for i in range(40)]


@pytest.mark.parametrize('split', SPLITS)
def test_scenes_have_three_to_ten_visible_objects_a_third_novel_outside_of_training(split):
    for scene in scenes(split):
        height, width, channels = scene.image.shape
        assert (max(height, width), channels) == (320, 3) and min(height, width) >= 224
        assert 3 <= len(scene.category_ids) <= 10
        assert scene.masks.shape == (len(scene.category_ids), height, width)
        assert scene.masks.sum(axis=0).max() <= 1, 'no two overlap'
        assert scene.masks.sum(axis=(1, 2)).min() >= 200
    share = np.mean([i in NOVEL for scene in scenes(split) for i in scene.category_ids])
    assert share == 0 if split == 'train' else 0.23 < share < 0.43


def test_pictures_of_a_data_set_depend_on_seed_and_index_only():
    short = DATASETS.build(dict(type='MiniWorldPictures', num_images=3, seed=1, image_size=64))
    long = MiniWorldPictures(10**9, seed=1, image_size=64)
    assert len(short) == 3
    item = short[2]
    assert item['inputs'].shape == (3, 64, 64) and item['inputs'].dtype == torch.uint8
    assert short.metainfo['classes'][item['category']] == item['name']
    assert torch.equal(item['inputs'], long[2]['inputs'])
    assert torch.equal(short[-1]['inputs'], item['inputs'])
    assert not torch.equal(short[1]['inputs'], item['inputs'])
    assert not torch.equal(MiniWorldPictures(3, 2, 64)[2]['inputs'], item['inputs'])
    with pytest.raises(IndexError):
        short[3]


# Files


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file() and path.suffix != '.lock'
    }


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
    content = json.loads((world / 'annotations' / 'mini_test.json').read_text())
    assert set(content) == {'info', 'licenses', 'images', 'annotations', 'categories'}
    for image in content['images']:
        assert {
            'id', 'width', 'height', 'coco_url', 'flickr_url', 'date_captured', 'license',
            'neg_category_ids', 'not_exhaustive_category_ids',
        } <= set(image)  # fmt: skip
        path = world / '/'.join(image['coco_url'].split('/')[-2:])
        assert cv2.imread(str(path)).shape[:2] == (image['height'], image['width'])
        own = {a['category_id'] for a in content['annotations'] if a['image_id'] == image['id']}
        assert len(set(image['neg_category_ids'])) == 8
        assert own.isdisjoint(image['neg_category_ids'])
    for category in content['categories']:
        assert {'frequency', 'synonyms', 'synset', 'def'} <= set(category)
        own = [a['image_id'] for a in content['annotations'] if a['category_id'] == category['id']]
        assert (category['instance_count'], category['image_count']) == (len(own), len(set(own)))


def test_pycocotools_reads_the_masks_that_were_drawn(world):
    coco = COCO(world / 'annotations' / 'mini_test.json')
    for index in range(5):
        scene = draw_scene(scene_rng(11, 'test', index), 'test')
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[index + 1]))
        assert [annotation['category_id'] for annotation in annotations] == scene.category_ids
        for annotation, mask in zip(annotations, scene.masks):
            np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), mask)
            assert annotation['area'] == mask.sum()
            left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
            assert annotation['bbox'] == [left, top, width, height]


def test_a_split_is_kept_if_complete_and_refused_if_not_unless_overwritten(tmp_path):
    write_split(tmp_path, 'val', 3, 0, progress=False)
    before = contents(tmp_path)
    (tmp_path / 'val' / '000001.jpg').write_bytes(b'changed')
    write_split(tmp_path, 'val', 3, 0, progress=False)
    assert (tmp_path / 'val' / '000001.jpg').read_bytes() == b'changed'
    with pytest.raises(FileExistsError, match='--overwrite'):
        write_split(tmp_path, 'val', 2, 0, progress=False)
    (tmp_path / 'val' / '000002.jpg').unlink()
    with pytest.raises(FileExistsError):
        write_split(tmp_path, 'val', 3, 0, progress=False)
    write_split(tmp_path, 'val', 2, 0, progress=False, overwrite=True)
    after = contents(tmp_path)
    assert set(after) == {'annotations/mini_val.json', 'val/000001.jpg', 'val/000002.jpg'}
    assert after['val/000001.jpg'] == before['val/000001.jpg']


def test_an_interrupted_call_leaves_nothing_that_looks_complete(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(mask_utils, 'encode', interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_split(tmp_path, 'val', 2, 0, progress=False)
    assert not contents(tmp_path)
    monkeypatch.setattr('cv2.imencode', lambda *_: (False, None))
    with pytest.raises(OSError, match='could not encode 000000.jpg'):
        write_pictures(tmp_path, 4, 1, size=32, progress=False)
    assert not contents(tmp_path)


def test_several_that_ask_for_the_same_split_draw_it_once(tmp_path, monkeypatch):
    drawn = []
    draw = writer.draw_scene
    monkeypatch.setattr(writer, 'draw_scene', lambda *given: drawn.append(1) or draw(*given))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: write_split(tmp_path, 'val', 3, 3, progress=False), range(3)))
    assert len(drawn) == len(list((tmp_path / 'val').glob('*.jpg'))) == 3


def test_pictures_lie_in_folders_of_their_classes_as_often_novel_as_asked(tmp_path):
    def draw(*given):
        folder = write_pictures(tmp_path, *given, size=32, progress=False)
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*.jpg')}

    novel = {category.name.replace(' ', '_') for category in CATEGORIES if category.novel}
    half = draw(24, 3)
    assert len(half) == 24 and 4 <= sum(path.parts[0] in novel for path in half) <= 20
    assert draw(24, 3) == half != draw(24, 4)
    for share, want in ((0, 0), (1, 6)):
        assert sum(path.parts[0] in novel for path in draw(6, 3, None, share)) == want
    assert all(path.parts[0].endswith('_star') for path in draw(9, 3, ['* star'], 1))
    pixels = np.frombuffer(next(iter(half.values())), np.uint8)
    assert cv2.imdecode(pixels, cv2.IMREAD_COLOR).shape == (32, 32, 3)


def test_a_data_set_draws_its_pictures_and_has_all_classes(tmp_path):
    dataset = DATASETS.build(
        dict(
            type='MiniWorldImageLabels',
            data_root=str(tmp_path / 'new'),
            draw=dict(num_images=3, seed=1, size=32, progress=False),
        )
    )
    assert len(dataset) == 3 and len(dataset.metainfo['classes']) == 640
    for index in range(3):
        info = dataset.get_data_info(index)
        name = info['img_id'].split('/')[0].replace('_', ' ')
        assert [dataset.metainfo['classes'][i] for i in info['true_labels']] == [name]


@pytest.mark.parametrize(
    ('call', 'arguments', 'message'),
    [
        (draw_scene, (rng(0), 'minival'), "'minival'.*'train', 'val', 'test'"),
        (write_split, ('x', 'minival', 3, 0), 'minival'),
        (write_split, ('x', 'val', 0, 0), 'num_images of at least 1'),
        (write_split, ('x', 'val', 3, -1), 'seed of at least 0'),
        (write_pictures, ('x', 0, 1), 'novel_share from 0 to 1, got'),
        (write_pictures, ('x', 1, 1, None, 1.5), 'novel_share from 0 to 1, got'),
        (MiniWorldPictures, (0,), 'expected num_images'),
        (MiniWorldPictures, (1, -1), 'expected num_images'),
    ],
)
def test_impossible_arguments_are_named(call, arguments, message):
    with pytest.raises(ValueError, match=message):
        call(*arguments)


def test_the_tool_ends_by_saying_where_the_result_is(tmp_path, run_tool):
    arguments = ['make_mini_world.py', tmp_path / 'out', '--split', 'val', '--num-images', '2']
    status, out, err = run_tool(*arguments, '--seed', '1')
    assert status == 0, out + err
    last = out.splitlines()[-1]
    assert str(tmp_path / 'out' / 'val') in last
    assert str(tmp_path / 'out' / 'annotations' / 'mini_val.json') in last
    assert '--overwrite' in str(run_tool(*arguments, '--seed', '2'))

import json
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from mmovsam.datasets.mini_world import draw_scene, write_split, writer
from mmovsam.datasets.mini_world.writer import scene_rng

TOOL = Path(__file__).parents[3] / 'dev' / 'make_mini_world.py'


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file() and path.suffix != '.lock'
    }


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('world')
    write_split(folder, 'test', 8, 11, progress=False)
    return folder


def test_the_same_seed_gives_the_same_bytes(world, tmp_path):
    write_split(tmp_path, 'test', 8, 11, progress=False)
    assert contents(tmp_path) == contents(world)


def test_a_scene_does_not_depend_on_how_many_are_written(world, tmp_path):
    write_split(tmp_path, 'test', 3, 11, progress=False)
    for name in ('test/000001.jpg', 'test/000003.jpg'):
        assert (tmp_path / name).read_bytes() == (world / name).read_bytes()


def test_the_annotation_file_has_the_fields_of_lvis_and_the_size_and_place_of_images(world):
    content = json.loads((world / 'annotations' / 'mini_test.json').read_text())
    assert set(content) == {'info', 'licenses', 'images', 'annotations', 'categories'}
    for image in content['images']:
        assert {
            'id', 'width', 'height', 'coco_url', 'flickr_url', 'date_captured', 'license',
            'neg_category_ids', 'not_exhaustive_category_ids',
        } <= set(image)  # fmt: skip
        path = world / '/'.join(image['coco_url'].split('/')[-2:])
        assert cv2.imread(str(path)).shape[:2] == (image['height'], image['width'])
    for annotation in content['annotations']:
        assert {'id', 'image_id', 'category_id', 'area', 'bbox', 'segmentation'} <= set(annotation)
    for category in content['categories']:
        assert category['frequency'] in ('r', 'c', 'f')
        assert {'image_count', 'instance_count', 'synonyms', 'synset', 'def'} <= set(category)
        own = [a['image_id'] for a in content['annotations'] if a['category_id'] == category['id']]
        assert (category['instance_count'], category['image_count']) == (len(own), len(set(own)))


def test_pycocotools_reads_the_masks_that_were_drawn(world):
    coco = COCO(world / 'annotations' / 'mini_test.json')
    for index in range(8):
        scene = draw_scene(scene_rng(11, 'test', index), 'test')
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[index + 1]))
        assert [annotation['category_id'] for annotation in annotations] == scene.category_ids
        for annotation, mask in zip(annotations, scene.masks):
            np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), mask)
            assert annotation['area'] == mask.sum()
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            left, top = columns[0], rows[0]
            width, height = columns[-1] + 1 - left, rows[-1] + 1 - top
            assert annotation['bbox'] == [left, top, width, height]


def test_negative_categories_are_truly_absent(world):
    content = json.loads((world / 'annotations' / 'mini_test.json').read_text())
    present = {}
    for annotation in content['annotations']:
        present.setdefault(annotation['image_id'], set()).add(annotation['category_id'])
    for image in content['images']:
        assert len(set(image['neg_category_ids'])) == 8
        assert present[image['id']].isdisjoint(image['neg_category_ids'])


def test_a_complete_split_is_kept_untouched(world):
    path = world / 'test' / '000001.jpg'
    before = path.stat().st_mtime_ns
    write_split(world, 'test', 8, 11, progress=False)
    assert path.stat().st_mtime_ns == before


def test_a_different_split_is_kept_unless_overwritten(tmp_path):
    write_split(tmp_path, 'val', 3, 0, progress=False)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match='--overwrite'):
        write_split(tmp_path, 'val', 2, 0, progress=False)
    assert contents(tmp_path) == before
    write_split(tmp_path, 'val', 2, 0, progress=False, overwrite=True)
    assert sorted(contents(tmp_path)) == [
        'annotations/mini_val.json', 'val/000001.jpg', 'val/000002.jpg',
    ]  # fmt: skip


def test_a_split_that_lacks_an_image_is_not_taken_for_complete(tmp_path):
    write_split(tmp_path, 'val', 2, 0, progress=False)
    (tmp_path / 'val' / '000002.jpg').unlink()
    with pytest.raises(FileExistsError):
        write_split(tmp_path, 'val', 2, 0, progress=False)


def test_an_interrupted_call_leaves_nothing_that_looks_complete(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(mask_utils, 'encode', interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_split(tmp_path, 'val', 2, 0, progress=False)
    assert not contents(tmp_path)
    monkeypatch.undo()
    write_split(tmp_path, 'val', 2, 0, progress=False)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('minival', 3, 0), 'minival'),
        (('val', 0, 0), 'num_images of at least 1'),
        (('val', 3, -1), 'seed of at least 0'),
    ],
)
def test_impossible_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_split(tmp_path, *arguments, progress=False)


def test_the_tool_ends_by_saying_where_the_result_is(tmp_path, monkeypatch, capsys):
    def run(seed):
        arguments = [str(tmp_path / 'out'), '--split', 'val', '--num-images', '2']
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *arguments, '--seed', str(seed)])
        runpy.run_path(str(TOOL), run_name='__main__')

    run(1)
    last = capsys.readouterr().out.splitlines()[-1]
    assert str(tmp_path / 'out' / 'val') in last
    assert str(tmp_path / 'out' / 'annotations' / 'mini_val.json') in last
    with pytest.raises(SystemExit, match='--overwrite'):
        run(2)


def test_several_that_ask_for_the_same_split_draw_it_once(tmp_path, monkeypatch):
    drawn = []
    draw = writer.draw_scene
    monkeypatch.setattr(writer, 'draw_scene', lambda *given: drawn.append(1) or draw(*given))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: write_split(tmp_path, 'val', 3, 3, progress=False), range(3)))
    assert len(drawn) == len(list((tmp_path / 'val').glob('*.jpg'))) == 3
    assert not list(tmp_path.glob('.*.tmp'))

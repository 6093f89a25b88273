"""tools/semantic.py on a scene of the small world."""

import re

import numpy as np
import pytest
from mini_world import CATEGORIES, draw_scene
from PIL import Image

SMALL = ('--config', 'mini/ovsam_mini_boxes.py', '--vocabulary', 'names.txt')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    print('seed 8')
    scene = draw_scene(np.random.default_rng(8), 'test')
    names = list(dict.fromkeys(CATEGORIES[i - 1].name for i in scene.category_ids))
    labels = np.zeros(scene.image.shape[:2], np.uint8)
    for number, mask in zip(scene.category_ids, scene.masks):
        labels[mask] = 1 + names.index(CATEGORIES[number - 1].name)
    for name, content in (('images', scene.image), ('labels', labels)):
        (tmp_path / name / 'a').mkdir(parents=True)
        Image.fromarray(content).save(tmp_path / name / 'a' / 'scene.png')
    (tmp_path / 'names.txt').write_text('\n'.join(names))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_maps_are_written_and_compared(run_tool, folder):
    status, out, err = run_tool(
        'semantic.py', 'images', '--labels', 'labels', '--out', 'maps', *SMALL
    )
    assert status == 0, err
    found = np.asarray(Image.open(folder / 'maps/a/scene.png'))
    labels = np.asarray(Image.open(folder / 'labels/a/scene.png'))
    accuracy = 100 * (found == labels)[labels > 0].mean()
    scores = re.search(r'mIoU ([\d.]+), mAcc ([\d.]+), aAcc ([\d.]+)', out)
    assert float(scores[3]) == pytest.approx(accuracy, abs=0.01) and accuracy > 50
    assert found.max() <= labels.max() and (found == 0).any()
    Image.fromarray(labels[:-1]).save(folder / 'labels/a/scene.png')
    status, _, err = run_tool('semantic.py', 'images', '--labels', 'labels', *SMALL)
    assert status == 2 and 'has another size than' in err


def test_something_has_to_come_of_it(run_tool, folder):
    status, _, err = run_tool('semantic.py', 'images', *SMALL)
    assert status == 2 and 'give --labels to compare with, --out to write to, or both' in err


@pytest.mark.parametrize('value', [-1, 65535, 65534])
def test_values_of_classes_fit_into_16_bits(run_tool, folder, value):
    arguments = ('--out', 'maps', *SMALL, f'--first-value={value}')
    status, _, err = run_tool('semantic.py', 'images', *arguments)
    assert status == 2 and ('exceed a PNG' if value == 65534 else 'from 0 to 65534') in err
    assert not (folder / 'maps').exists()


def test_one_image_ends_no_run_and_no_map_replaces_another_or_an_image(run_tool, folder):
    (folder / 'images' / 'cut.png').write_bytes(b'cut')
    status, out, err = run_tool('semantic.py', 'images', '--out', 'maps', *SMALL)
    assert status == 0 and 'left out cut.png: images/cut.png is truncated' in err
    assert 'Done: 1 images, 1 left out: maps/' in out
    before = (folder / 'images/a/scene.png').read_bytes()
    status, _, err = run_tool('semantic.py', 'images', '--out', 'images', *SMALL)
    assert status == 2 and 'images has no images besides those in images' in err
    (folder / 'labels/cut.png').write_bytes(b'cut')
    status, _, err = run_tool(
        'semantic.py', 'images', '--labels', 'labels', '--out', 'images', *SMALL
    )
    assert status == 2 and 'scene.png is read, and would be replaced' in err
    assert (folder / 'images/a/scene.png').read_bytes() == before
    Image.open(folder / 'images/a/scene.png').save(folder / 'images/a/scene.jpg')
    status, _, err = run_tool('semantic.py', 'images', '--out', 'maps', *SMALL)
    assert status == 2 and 'scene.png. Rename one' in err
    (folder / 'none').mkdir()
    (folder / 'none' / 'cut.png').write_bytes(b'cut')
    status, _, err = run_tool('semantic.py', 'none', '--out', 'maps', *SMALL)
    assert status == 2 and 'cut.png is truncated' in err


def test_maps_are_kept_and_a_run_that_was_stopped_goes_on(run_tool, folder):
    scene, labels = folder / 'images/a/scene.png', folder / 'labels/a/scene.png'
    for name in 'bc':  # the label map of the second image ends the first run
        (folder / f'images/{name}.png').write_bytes(scene.read_bytes())
        (folder / f'labels/{name}.png').write_bytes(
            labels.read_bytes()[: 50 * (name == 'b') or None]
        )
    compare = ('semantic.py', 'images', '--labels', 'labels', '--out', 'images/maps', *SMALL)
    status, _, err = run_tool(*compare)
    assert status == 2 and 'The label map labels/b.png is truncated' in err
    Image.fromarray(np.zeros_like(Image.open(folder / 'images/maps/a/scene.png'))).save(
        folder / 'images/maps/a/scene.png'
    )
    (folder / 'labels/b.png').write_bytes(labels.read_bytes())
    status, out, err = run_tool(*compare, '--points-per-side', 3)
    assert status == 2 and 'points_per_side was null and is 3' in err
    status, out, err = run_tool(*compare)
    assert status == 0 and 'Done: 3 images' in out, err
    assert not np.asarray(Image.open(folder / 'images/maps/a/scene.png')).any()
    assert np.asarray(Image.open(folder / 'images/maps/b.png')).any()
    assert not (folder / 'images/maps.journal').exists()
    find = ('semantic.py', 'images', '--out', 'images/maps', *SMALL)
    status, _, err = run_tool(*find)
    assert status == 2 and 'There is already images/maps/a/scene.png' in err
    status, out, err = run_tool(*find, '--overwrite')
    assert status == 0 and 'Done: 3 images' in out, err
    assert np.asarray(Image.open(folder / 'images/maps/a/scene.png')).any()
    status, out, err = run_tool('semantic.py', 'images', '--out', 'others', *SMALL)
    assert status == 0 and 'Done: 3 images' in out, err

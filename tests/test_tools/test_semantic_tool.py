"""tools/semantic.py on a scene of the small world."""

import re

import numpy as np
import pytest
import small_world
from PIL import Image

SMALL = ('--config', 'mini/ovsam_mini_boxes.py', '--vocabulary', 'names.txt')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    scene = small_world.scene(8)
    names = list(dict.fromkeys(scene.names))
    labels = np.zeros(scene.image.shape[:2], np.uint8)
    for name, mask in zip(scene.names, scene.masks):
        labels[mask] = 1 + names.index(name)
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


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((), 'give --labels to compare with, --out to write to, or both'),
        (('--out', 'maps', '--first-value=-1'), 'from 0 to 65534'),
        (('--out', 'maps', '--first-value=65534'), 'exceed a PNG'),
        (('--out', 'images'), 'images has no images besides those in images'),
        (('--labels', 'cut', '--out', 'images'), 'scene.png is read, and would be replaced'),
    ],
)
def test_mistake_is_told_and_nothing_is_written(run_tool, folder, arguments, message):
    (folder / 'labels').rename(folder / 'cut')
    before = (folder / 'images/a/scene.png').read_bytes()
    status, _, err = run_tool('semantic.py', 'images', *arguments, *SMALL)
    assert status == 2 and message in err and not (folder / 'maps').exists()
    assert (folder / 'images/a/scene.png').read_bytes() == before


def test_one_image_ends_no_run_and_no_map_replaces_another(run_tool, folder):
    (folder / 'images' / 'cut.png').write_bytes(b'cut')
    status, out, err = run_tool('semantic.py', 'images', '--out', 'maps', *SMALL)
    assert status == 0 and 'left out cut.png: images/cut.png is truncated' in err
    assert 'Done: 1 images, 1 left out: maps/' in out
    Image.open(folder / 'images/a/scene.png').save(folder / 'images/a/scene.jpg')
    status, _, err = run_tool('semantic.py', 'images', '--out', 'maps', *SMALL)
    assert status == 2 and 'scene.png. Rename one' in err
    (folder / 'none').mkdir()
    (folder / 'images' / 'cut.png').rename(folder / 'none' / 'cut.png')
    status, _, err = run_tool('semantic.py', 'none', '--out', 'maps', *SMALL)
    assert status == 2 and 'cut.png is truncated' in err


def test_maps_are_kept_and_a_run_that_was_stopped_goes_on(run_tool, folder):
    scene, labels = folder / 'images/a/scene.png', folder / 'labels/a/scene.png'
    for name in 'bc':
        (folder / f'images/{name}.png').write_bytes(scene.read_bytes())
        (folder / f'labels/{name}.png').write_bytes(labels.read_bytes())
    (folder / 'labels/b.png').write_bytes(labels.read_bytes()[:50])  # it ends the first run

    def run(*arguments):
        status, out, err = run_tool('semantic.py', 'images', *arguments, *SMALL)
        return status, out if status == 0 else err

    def is_drawn(name):
        return np.asarray(Image.open(folder / 'images/maps' / name)).any()

    compare = ('--labels', 'labels', '--out', 'images/maps')
    status, err = run(*compare)
    assert status == 2 and 'The label map labels/b.png is truncated' in err
    first = folder / 'images/maps/a/scene.png'
    Image.fromarray(np.zeros_like(Image.open(first))).save(first)
    (folder / 'labels/b.png').write_bytes(labels.read_bytes())
    status, err = run(*compare, '--points-per-side', 3)
    assert status == 2 and 'points_per_side was null and is 3' in err
    status, out = run(*compare)
    assert status == 0 and 'Done: 3 images' in out, out
    assert not is_drawn('a/scene.png') and is_drawn('b.png')
    assert not (folder / 'images/maps.journal').exists()
    status, err = run('--out', 'images/maps')
    assert status == 2 and 'There is already images/maps/a/scene.png' in err
    status, out = run('--out', 'images/maps', '--overwrite')
    assert status == 0 and 'Done: 3 images' in out and is_drawn('a/scene.png'), out
    status, out = run('--out', 'others')
    assert status == 0 and 'Done: 3 images' in out, out

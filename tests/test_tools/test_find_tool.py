"""tools/find.py on scenes of the small world."""

import json

import pytest
import small_world
from mini_world import CATEGORIES
from PIL import Image

SEED = 21
SMALL = ('--config', 'mini/ovsam_mini_boxes.py')


@pytest.fixture(scope='module')
def scene():
    return small_world.scene(SEED)


@pytest.fixture
def folder(tmp_path, monkeypatch, scene):
    (tmp_path / 'images').mkdir()
    Image.fromarray(scene.image).save(tmp_path / 'images' / 'scene.png')
    (tmp_path / 'images' / 'broken.jpg').write_text('no image')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_objects_of_the_names_are_printed_written_and_drawn(run_tool, folder, scene):
    names = list(dict.fromkeys(scene.names))
    absent = next(each.name for each in CATEGORIES if each.name not in names)
    status, out, err = run_tool('find.py', 'images', '--names', *names, absent, *SMALL)
    assert status == 0, err
    assert 'left out broken.jpg' in err
    content = json.loads((folder / 'outputs/find/found.json').read_text())
    assert [each['name'] for each in content['categories']] == [*names, absent]
    found = content['annotations']
    assert f'{len(found)} objects in 1 images' in out and f'{absent}: ' in out
    assert sum(line.startswith('scene.png') for line in out.splitlines()) == len(found)
    assert all(each['score'] >= 0.5 for each in found)
    here = {each['category_id'] for each in found} - {len(names) + 1}
    assert len(here) >= 0.6 * len(names)
    assert (folder / 'outputs/find/pictures/scene.png.jpg').is_file()
    status, _, err = run_tool('find.py', 'images', '--names', absent, *SMALL)
    assert status == 2 and 'There is already' in err


def test_a_detector_says_where_to_look(run_tool, folder):
    (folder / 'names.txt').write_text('plain red ring\ndotted blue star\n')
    status, out, err = run_tool(
        'find.py', 'images', '--names', 'dotted blue star', *SMALL, '--score-thr', 0.0,
        '--detector', 'mini/rtmdet_mini.py', '--background', 'names.txt',
    )  # fmt: skip
    assert status == 0, err
    assert 'dotted blue star: ' in out


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--names', 'dog', 'Dog'), "given more than once: 'dog', 'Dog'"),
        (('--names', ''), 'is empty'),
        (('--names', 'ids.txt'), 'ids.txt has a number or id before each name'),  # a file of names
        (('--names', 'no.txt'), 'There is no text file no.txt'),
        (('--names', 'dog', '--detector', SMALL[1]), 'boxes.py is prompted by annotations'),
        (('--names', 'dog', '--detector', 'x.py', '--tile-size', '200'), 'detector or a tile_size'),
        (('--names', 'dog', '--tile-size', '0'), 'tile_size must be at least 16 pixels, not 0'),
        (('--names', 'dog', '--score-thr', '2'), 'score_thr must lie between 0 and 1, not 2.0'),
        (('--names', 'dog', '--points-per-side', '0'), 'points_per_side must be at least 1'),
    ],
)
def test_mistakes_are_one_line(run_tool, folder, arguments, message):
    (folder / 'images' / 'broken.jpg').unlink()
    (folder / 'ids.txt').write_text('1: cat\n2: dog')
    status, _, err = run_tool('find.py', 'images', *arguments, *SMALL)
    assert status == 2 and message in err


def test_tiles_of_an_image(run_tool, folder, scene):
    names = sorted(set(scene.names))
    tiles = ('--tile-size', 200, '--tile-overlap', 0.5)
    status, _, err = run_tool('find.py', 'images', '--names', *names, *SMALL, *tiles)
    assert status == 0, err
    found = json.loads((folder / 'outputs/find/found.json').read_text())['annotations']
    assert found and all(each['segmentation']['size'] == [*scene.image.shape[:2]] for each in found)
    assert (folder / 'outputs/find/pictures/scene.png.jpg').is_file()

"""tools/auto_label.py with the shipped models, mostly on scenes of the small world."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_world
from PIL import Image
from pycocotools.coco import COCO

from mmovsam.apis import EXAMPLE_PHOTOS

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'auto_label.py'
SEED = 11
SMALL = '--config mini/ovsam_mini_boxes.py'
COARSE = f'{SMALL} --prompter-options points_per_side=4'


@pytest.fixture(scope='module')
def scenes():
    return [small_world.scene(SEED, index) for index in range(2)]


@pytest.fixture
def run(tmp_path, monkeypatch, scenes, run_tool):
    """`run('images out.json')` in a folder with two images and a file that is none."""
    (tmp_path / 'images').mkdir()
    for number, scene in enumerate(scenes):
        Image.fromarray(scene.image).save(tmp_path / 'images' / f'{number}.png')
    (tmp_path / 'images' / 'broken.jpg').write_text('no image')
    monkeypatch.chdir(tmp_path)
    return lambda line: run_tool('auto_label.py', *line.split())


def test_folder_is_labeled_and_what_is_no_image_is_named(run):
    status, out, err = run(f'images out.json {COARSE}')
    assert status == 0, err
    assert 'left out broken.jpg: images/broken.jpg is truncated or no image' in err
    assert 'objects in 2 images, 1 left out: out.json' in out
    assert '3/3' in err  # the bar
    assert not list(Path().glob('*.journal'))


@pytest.mark.slow
def test_two_processes_give_what_one_gives(run):
    run(f'images out.json {COARSE}')
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'}
    env['PYTHONPATH'] = os.pathsep.join([str(ROOT), env.get('PYTHONPATH', '')])
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    command = [sys.executable, *launch, str(TOOL), 'images', 'two.json', *COARSE.split()]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('objects in 2 images, 1 left out: two.json') == 1
    assert Path('two.json').read_bytes() == Path('out.json').read_bytes()


def test_boxes_of_a_detector_become_labels(run, scenes):
    status, _, err = run(
        f'images out.json {SMALL} --prompter mmovsam::mini/rtmdet_mini.py --prompter-options '
        'checkpoint=mmovsam://rtmdet_mini.safetensors score_thr=0.4 filter.nms_iou=0.7'
    )
    assert status == 0, err
    coco = COCO('out.json')
    for image_id, scene in enumerate(scenes, 1):
        found = [coco.cats[each['category_id']]['name'] for each in coco.imgToAnns[image_id]]
        assert len(set(found) & set(scene.names)) >= 0.5 * len(scene.names)  # chance is 1 in 640


def test_photographs_are_labeled_by_default(run):
    Image.fromarray(EXAMPLE_PHOTOS['coffee'].load()).save('coffee.png')
    options = 'points_per_side=2 quality_thr=0 stability_thr=0'
    status, _, err = run(f'coffee.png out.json --prompter-options {options}')
    assert status == 0, err
    coco = COCO('out.json')
    assert len(coco.cats) == 80 and coco.anns


def test_own_names_are_the_classes(run):
    Path('names.txt').write_text('a red thing\na blue thing\n')
    status, out, err = run(f'images/0.png labels --vocabulary names.txt --format yolo {COARSE}')
    assert status == 0, err
    classes = Path('labels/data.yaml').read_text()
    assert classes.endswith('names:\n  0: "a red thing"\n  1: "a blue thing"\n')
    lines = Path('labels/labels/0.txt').read_text().splitlines()
    assert lines and {line.split()[0] for line in lines} <= {'0', '1'}


def test_labels_of_a_label_studio_project_are_the_classes(run):
    Path('config.xml').write_text(
        '<View><Image name="photo" value="$url"/><PolygonLabels name="shape" toName="photo">'
        '<Label value="a red thing"/><Label value="a blue thing"/></PolygonLabels></View>'
    )
    status, _, err = run(
        f'images/0.png tasks.json --format label_studio --label-config config.xml {COARSE}'
    )
    assert status == 0, err
    assert Path('tasks.xml').read_text() == Path('config.xml').read_text()
    (task,) = json.loads(Path('tasks.json').read_text())
    assert task['data'] == dict(url='/data/local-files/?d=images/0.png')
    (prediction,) = task['predictions']
    names = {region['value']['polygonlabels'][0] for region in prediction['result']}
    assert names and names <= {'a red thing', 'a blue thing'}


@pytest.mark.parametrize(
    'line, message',
    [
        ('nowhere out.json', 'no folder, glob or file nowhere'),
        ('images out.json --prompter-options points=3', 'has no points; it has points_per_side'),
        ('images out.json --prompter none.json', 'no results file none.json'),
        ('images out.json --vocabulary none.txt', 'none.txt'),
        ('images out.json --config none.py', 'no config none.py'),
        ('images images', 'is a folder, expected a JSON file'),
        ('images names.txt', 'There is already names.txt'),
        ('images out.json --label-config names.txt --format label_studio', 'is no XML'),
    ],
)
def test_mistake_is_told_in_a_line(run, line, message):
    Path('names.txt').write_text('corrected by hand')
    status, _, err = run(line)
    assert status == 2
    assert message in err and 'Traceback' not in err
    assert Path('names.txt').read_text() == 'corrected by hand'
    assert not Path('out.json').exists()

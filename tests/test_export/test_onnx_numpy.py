"""examples/onnx_numpy.py: it needs no PyTorch, and says what OVSAMPredictor says."""

import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from PIL import Image

from mmovsam.apis import OVSAMPredictor
from mmovsam.export import VocabularyArrays
from mmovsam.pixels import to_color

EXAMPLE = Path(__file__).resolve().parents[2] / 'examples' / 'onnx_numpy.py'
WITHOUT_TORCH = f"""
import runpy, sys
for name in ('torch', 'mmovsam', 'mmdet', 'mmcv', 'cv2', 'onnx'):
    sys.modules[name] = None
sys.argv[0] = {str(EXAMPLE)!r}
runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')
"""


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    """A file of blobs, of an odd size that is reduced."""
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp('picture') / 'blobs.png'
    Image.fromarray(small).resize((211, 127), Image.Resampling.BICUBIC).save(path)
    return path


def run(*arguments):
    command = [sys.executable, '-c', WITHOUT_TORCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_prints_names_without_pytorch_and_writes_a_picture(exported, picture, tmp_path):
    names = VocabularyArrays.from_classifier(tiny.vocabulary(('plum', 'owl'), None))
    names.save(tmp_path / 'other.npz')
    done = run(
        *(exported.folder, picture, '--int8', '--vocabulary', tmp_path / 'other.npz'),
        *('--box', 10, 12, 150, 100, '--points', '60,40', '9,9,0', '--out', tmp_path / 'out.png'),
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith('box 10 12 150 100: ') and lines[1].startswith('points 60,40,1 9,9')
    assert all('plum 0.' in line and 'quality 0.' in line for line in lines)
    with Image.open(tmp_path / 'out.png') as image:
        assert image.size == (211, 127)


@pytest.mark.parametrize(
    'prompt',
    [
        dict(box=[10, 12, 150, 100]),
        dict(points=[[60, 40]], labels=[1]),
        dict(points=[[60, 40], [9, 9]], labels=[1, 0], box=[0, 0, 211, 127]),
    ],
)
def test_it_says_what_the_predictor_says(exported, picture, prompt):
    exported.model.set_vocabulary(tiny.vocabulary())
    predictor = OVSAMPredictor(exported.model)
    predictor.set_image(picture)
    expected = predictor.predict(
        prompt.get('points'), prompt.get('labels'), prompt.get('box'), multimask_output=False
    )
    model = runpy.run_path(str(EXAMPLE))['OVSAM'](exported.folder)
    with Image.open(picture) as image:
        model.set_image(image)
    mask, score, probabilities = model.predict(**prompt)
    # pictures are resized by another library, which may round a pixel the other way
    assert mask.shape == (127, 211) and (mask != expected.masks[0]).mean() < 0.02
    assert abs(score - expected.scores[0]) < 0.05
    for name, probability in zip(expected.names[0], expected.name_scores[0]):
        assert abs(probabilities[name] - probability) < 0.05


@pytest.mark.parametrize('value_range', [None, (100, 3000)])
@pytest.mark.parametrize(('dtype', 'factor'), [(np.uint16, 16), (np.int32, 256), (np.float32, 257)])
def test_it_reads_deep_images_as_the_predictor_does(dtype, factor, value_range):
    values = (np.random.default_rng(1).integers(0, 256, (20, 30)) * factor).astype(dtype)
    found = runpy.run_path(str(EXAMPLE))['to_rgb'](Image.fromarray(values), value_range)
    assert np.array_equal(found, to_color(values, value_range))


def test_values_that_are_not_finite_and_colors_that_pil_cuts_off(tmp_path):
    to_rgb = runpy.run_path(str(EXAMPLE))['to_rgb']
    values = np.linspace(0, 1000, 600, dtype=np.float32).reshape(20, 30)
    values[3, 4] = np.nan
    assert np.array_equal(to_rgb(Image.fromarray(values)), to_color(values))
    with pytest.raises(ValueError, match='no finite value'):
        to_rgb(Image.fromarray(np.full((4, 5), np.nan, np.float32)))
    colors = np.random.default_rng(1).integers(0, 4096, (20, 30, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / '12.png'), colors)
    with Image.open(tmp_path / '12.png') as image, pytest.raises(ValueError, match='less than 16'):
        to_rgb(image)
    cv2.imwrite(str(tmp_path / '16.png'), colors * 16)
    with Image.open(tmp_path / '16.png') as image:
        assert np.abs(np.asarray(to_rgb(image)).astype(int) - (colors[..., ::-1] >> 4)).max() <= 1


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('nowhere', '{picture}', '--points', '1,2'), 'nowhere/model.json'),
        (('{folder}', '{picture}'), 'give a --box or --points'),
        (('{folder}', '{picture}', '--points', '1,2,7'), "invalid point value: '1,2,7'"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    exported, picture, monkeypatch, capsys, arguments, message
):
    given = [text.format(folder=exported.folder, picture=picture) for text in arguments]
    monkeypatch.setattr(sys, 'argv', ['onnx_numpy.py', *given])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(EXAMPLE), run_name='__main__')
    assert message in f'{stop.value.code} {capsys.readouterr().err}'

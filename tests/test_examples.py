"""The examples that are neither tools nor part of the package."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mini_world import draw_scene
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / 'examples'
NOTEBOOK = EXAMPLES / 'photograph.ipynb'


def test_boxes_become_detections_of_supervision_in_a_picture(monkeypatch, tmp_path, capsys):
    pytest.importorskip('supervision')
    monkeypatch.chdir(tmp_path)
    scene = draw_scene(np.random.default_rng(3), 'test')
    Image.fromarray(scene.image).save('scene.png')
    rows, columns = np.nonzero(scene.masks[0])
    box = [str(x) for x in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
    path = str(EXAMPLES / 'with_supervision.py')
    arguments = [path, 'scene.png', '--model', 'ovsam-mini', '--boxes', *box, *box]
    monkeypatch.setattr(sys, 'argv', arguments)
    runpy.run_path(path, run_name='__main__')
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith(' pixels')]
    assert len(lines) == 2 and lines[0] == lines[1]
    area = int(lines[0].split(': ')[1].removesuffix(' pixels'))
    assert area == pytest.approx(scene.masks[0].sum(), rel=0.3)
    assert Image.open('supervision.jpg').size == scene.image.shape[1::-1]


def test_the_notebook_is_stored_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())['cells']
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    assert code
    assert not [c for c in code if c['outputs'] or c['execution_count'] is not None]


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    nbclient = pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    nbformat = pytest.importorskip('nbformat')
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=None, kernel_name='python3', resources={'metadata': {'path': tmp_path}}
    )
    client.execute()  # raises the error of a cell
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', ())]
    assert sum('image/png' in output.get('data', {}) for output in outputs) >= 4
    text = ''.join(output.get('text', '') for output in outputs)
    assert 'espresso' in text

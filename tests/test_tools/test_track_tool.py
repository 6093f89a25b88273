"""tools/track.py on frames of the small world."""

import json

import numpy as np
import pytest
from mini_world import draw_clip
from PIL import Image

SMALL = ('--config', 'mini/ovsam_mini_boxes.py')


@pytest.fixture
def box(tmp_path, monkeypatch):
    """Of an object of the first frame."""
    print('seed 2')
    clip = draw_clip(np.random.default_rng(2), num_frames=2, num_objects=3)
    (tmp_path / 'frames').mkdir()
    for number, image in enumerate(clip.images):
        Image.fromarray(image).save(tmp_path / 'frames' / f'{number}.png')
    monkeypatch.chdir(tmp_path)
    rows, columns = np.nonzero(clip.masks[0, 1])
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_tracks_are_printed_written_and_drawn(run_tool, tmp_path, box):
    status, out, err = run_tool('track.py', 'frames', '--box', *box, '--show', *SMALL)
    assert status == 0, err
    content = json.loads((tmp_path / 'outputs/track/tracks.json').read_text())
    assert content['videos'] == [dict(id=1, name='frames')] and len(content['images']) == 2
    assert content['annotations'] and content['annotations'][0]['track_id'] == 1
    assert '1 objects in 2 frames' in out
    assert (tmp_path / 'outputs/track/pictures/1.png.jpg').is_file()
    (tmp_path / 'frames').rename(tmp_path / 'pictures')
    status, _, err = run_tool('track.py', 'pictures', '--box', *box, '--show', '--out', '.', *SMALL)
    assert status == 2 and 'would replace frames' in err
    (tmp_path / 'pictures').rename(tmp_path / 'frames')
    status, _, err = run_tool('track.py', 'frames', '--box', *box, *SMALL)
    assert status == 2 and 'There is already' in err

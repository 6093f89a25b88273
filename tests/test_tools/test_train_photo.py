"""tools/train_photo.py and tools/test_photo.py on two drawn photographs."""

import json

import pytest
import tiny_photo

pytestmark = pytest.mark.slow


def test_masks_and_proposals_are_trained_from_the_shipped_weights_and_measured(run_tool, tmp_path):
    for name in ('train', 'val'):
        tiny_photo.write_set(tmp_path / 'photos', name)
    data = ['--data', tmp_path / 'photos', '--val', 'val']
    line = (
        f'--sets train --complete-sets train --stages windows crops proposals --out {tmp_path}/out'
    )
    line += ' --views 1 --steps 2 --batch-size 2 --save-every 1 --device cpu'
    line = [*data, *line.split(), '--init', 'mmovsam://photo_ovsam.safetensors']
    status, out, err = run_tool('train_photo.py', *line)
    assert status == 0, err
    assert 'cpu' in out.splitlines()[0]
    for stage, measured in dict(windows='box', crops='box', proposals='recall_30').items():
        log = (tmp_path / 'out' / stage / 'log.txt').read_text()
        assert log.count(f' val {measured} ') == 3 and 'step 2' in log
    status, out, err = run_tool('train_photo.py', *line)
    assert status == 0 and 'proposals: done before' in out, err

    weights, table = tmp_path / 'out' / 'proposals.safetensors', tmp_path / 'table.json'
    line = [*data, '--out', table, '--parts', 'masks', 'everything', '--checkpoint', weights]
    status, out, err = run_tool('test_photo.py', *line)
    assert status == 0, err
    found = json.loads(table.read_text())
    assert 0 <= found['everything/recall'] <= 1
    assert found['masks/objects'] == 6 and 0.5 < found['masks/box'] <= 1
    assert str(table) in out.splitlines()[-1]

"""tools/demo.py with the shipped model on one photograph."""

import cv2


def test_a_photograph_is_answered_in_a_table_and_in_pictures(run_tool, tmp_path):
    line = ['--photos', 'coffee', '--names', 'espresso, a red saucer', '--out', tmp_path]
    status, out, err = run_tool('demo.py', *line)
    assert status == 0, err
    (first,) = [row for row in out.splitlines() if row.startswith('coffee') and '170, 15' in row]
    assert 'espresso' in first and 'Rachel Michetti, CC0' in first
    assert 'demo.jpg' in out.splitlines()[-1]
    for file in (tmp_path / '0_coffee.jpg', tmp_path / 'demo.jpg'):
        assert cv2.imread(str(file)).shape[1] > 500
    status, _, err = run_tool('demo.py', '--photos', 'lena')
    assert status == 2 and 'invalid choice' in err

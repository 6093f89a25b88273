"""dev/evaluate_find.py on the small world, whose annotated boxes are easy."""

import re

import pytest


def test_all_are_counted_and_most_are_right(run_tool):
    status, out, err = run_tool('evaluate_find.py', 'small-world', '--boxes', '--num-images', 2)
    assert status == 0, err
    objects, found, right, precision, recall, _ = map(
        float, re.search(r'^all +(.*)$', out, re.MULTILINE)[1].split()
    )
    assert 6 <= objects <= 20 and right <= min(found, objects)
    assert precision == pytest.approx(right / found, abs=1e-3) and precision > 0.7
    assert recall == pytest.approx(right / objects, abs=1e-3) and recall > 0.5
    rows = re.findall(r'^\w+ \w+ .*?(\d+) +(\d+) +(\d+) +[\d.]+ +\S+ +\S+$', out, re.MULTILINE)
    assert [sum(map(int, column)) for column in zip(*rows)] == [objects, found, right]
    assert '2 images' in out and 'absent name' in out


def test_missing_photographs_are_named(run_tool, tmp_path):
    status, _, err = run_tool('evaluate_find.py', 'photos', '--root', tmp_path)
    assert status == 2 and f'{tmp_path}/coco_val has neither' in err

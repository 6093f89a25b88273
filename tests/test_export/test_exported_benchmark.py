"""The speed of an export beside that of its model."""

import copy

from benchmarks.cases import exported as measure_exported


def test_both_kinds_of_weights_are_measured_beside_the_model(exported):
    rows = list(measure_exported(copy.deepcopy(exported.model), str(exported.folder), [2], 1))
    assert [(row.name, row.number) for row in rows] == [
        ('encode, float32', 1),
        ('boxes, float32', 2),
        ('encode, int8', 1),
        ('boxes, int8', 2),
    ]
    assert all(row.seconds > 0 and row.plain_seconds > 0 for row in rows)

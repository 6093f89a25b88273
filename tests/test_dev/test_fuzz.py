"""The readers that are fuzzed, on inputs in order and on some changed ones."""

import random

import pytest

pytest.importorskip('onnxruntime')
pytest.importorskip('fastapi')

from fuzz.mutating import mutated_bytes, mutated_json
from fuzz.readers import READERS, REFUSED


@pytest.mark.parametrize('name', READERS)
def test_changed_inputs_are_read_or_refused_by_the_errors_that_are_documented(name):
    seed = random.SystemRandom().randrange(2**32)
    print(f'seed {seed}')
    chance = random.Random(seed)
    reader = READERS[name]
    seeds = reader.seeds()
    for number in range(len(seeds) + 12):
        data = seeds[number % len(seeds)]
        if number >= len(seeds):
            changed = mutated_json(data, chance) if reader.is_json else None
            data = mutated_bytes(data, chance) if changed is None else changed
        try:
            reader.read(data)
        except REFUSED as error:
            assert str(error)


def test_changed_json_is_json_of_another_content():
    chance = random.Random(0)
    text = b'{"a": [1, 2.5, "b"], "c": {"d": null}}'
    changed = {mutated_json(text, chance) for _ in range(100)}
    assert len(changed) > 50 and mutated_json(b'{"a', chance) is None

"""Reading a whole store, and taking out what is damaged."""

import sqlite3

import pytest
import torch
from tiny_dump import flip_bit, shard_with

from mmovsam.teacher_features import Feature, FeatureStore, check_store, encode, repair_store

ABOUT = dict(dtype='float16', shape=[4, 16, 16])


@pytest.fixture
def store(tmp_path):
    torch.manual_seed(0)
    store = FeatureStore.create(tmp_path, ABOUT, torch.zeros(1), 24)
    store.write(Feature(i, 0, encode(torch.randn(4, 16, 16), 'float16')) for i in range(24))
    return store


def test_what_is_damaged_is_found_and_taken_out_and_the_rest_is_kept(store):
    files = {path: path.read_bytes() for path in store.shard_paths()}
    found = check_store(store)
    assert found.num_features == 24 and found.problems == [] and found.speed > 0
    repair_store(store, found)
    assert {path: path.read_bytes() for path in store.shard_paths()} == files
    before = {i: store.read(i).embedding.data for i in range(24)}
    flip_bit(store, 7)
    flip_bit(store, 11)
    cut = shard_with(store, 3)
    lost = {7, 11, *(i for i in range(24) if shard_with(store, i) == cut)}
    cut.write_bytes(cut.read_bytes()[:70_000])
    journal = cut.with_name(f'{cut.name}-journal')
    journal.write_bytes(bytes(10))  # SQLite sees that it is none and lets it lie
    damaged = {shard_with(store, i): shard_with(store, i).read_bytes() for i in (3, 7, 11)}
    found = check_store(store)
    assert set(found.damaged) == {7, 11} and list(found.unreadable) == [cut]
    assert len(found.problems) == 3 and any('image 7 ' in text for text in found.problems)
    repair_store(store, found)
    assert set(store.missing(range(24))) == lost and not journal.exists()
    for path, content in damaged.items():
        assert path.with_name(f'{path.name}.damaged').read_bytes() == content
    for image_id in before.keys() - lost:
        assert torch.equal(store.read(image_id).embedding.data, before[image_id])
    assert check_store(store).problems == []


def test_a_disk_that_fails_for_a_while_costs_no_feature(store, monkeypatch):
    """As a stale handle of a network's disk does: nothing is known of the features then."""

    class Failing:
        def execute(self, *_):
            raise sqlite3.OperationalError('disk I/O error')

        def close(self):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, 'connect', lambda *_, **__: Failing())
        with pytest.raises(OSError, match='disk I/O error.*may be in order'):
            check_store(store, num_workers=0)
    assert check_store(store, num_workers=0).problems == []

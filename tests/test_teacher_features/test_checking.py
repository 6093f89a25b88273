"""Reading a whole store, and taking out what is damaged."""

import pytest
import torch
from tiny_dump import flip_bit, shard_with

from mmovsam.teacher_features import Feature, FeatureStore, check_store, encode, repair_store

ABOUT = dict(dtype='float16', shape=[4, 16, 16])


@pytest.fixture
def store(tmp_path):
    torch.manual_seed(0)
    store = FeatureStore.create(tmp_path, ABOUT, torch.zeros(1), 60)
    store.write(Feature(i, 0, encode(torch.randn(4, 16, 16), 'float16')) for i in range(60))
    yield store
    store.close()


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_store_in_order_is_read_as_a_whole_and_timed(store, num_workers):
    found = check_store(store, num_workers)
    assert found.num_features == 60 and found.problems == []
    assert found.speed == pytest.approx(60 * store.num_bytes / 2**20 / found.seconds)


def test_all_that_is_damaged_is_found_and_nothing_else(store):
    flip_bit(store, 7)
    flip_bit(store, 44)
    cut = shard_with(store, 3)
    assert cut not in (shard_with(store, 7), shard_with(store, 44))
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    found = check_store(store)
    assert set(found.damaged) == {7, 44} and list(found.unreadable) == [cut]
    assert len(found.problems) == 3 and any('image 7 ' in text for text in found.problems)


def test_repair_takes_out_what_is_damaged_and_keeps_the_rest(store):
    before = {i: store.read(i).embedding.data for i in range(60)}
    flip_bit(store, 7)
    flip_bit(store, 44)
    cut = shard_with(store, 3)
    lost = {7, 44, *(i for i in range(60) if shard_with(store, i) == cut)}
    cut.write_bytes(cut.read_bytes()[:70_000])
    journal = cut.with_name(f'{cut.name}-journal')
    journal.write_bytes(bytes(10))  # SQLite sees that it is none and lets it lie
    repair_store(store, check_store(store))
    assert set(store.missing(range(60))) == lost and not journal.exists()
    for image_id in before.keys() - lost:
        assert torch.equal(store.read(image_id).embedding.data, before[image_id])
    assert check_store(store).problems == []


def test_repair_of_a_store_in_order_changes_nothing(store):
    files = {path: path.read_bytes() for path in store.shard_paths()}
    repair_store(store, check_store(store))
    assert {path: path.read_bytes() for path in store.shard_paths()} == files

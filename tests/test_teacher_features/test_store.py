"""Features in a folder, found by the ids of their images."""

import errno
import json
import os
import random
import signal
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_dump import flip_bit, in_child, shard_with

from mmovsam.teacher_features import (
    DamagedFeatureError,
    EncodedEmbedding,
    Feature,
    FeatureStore,
    encode,
)

ABOUT = dict(dtype='float32', shape=[4, 6, 5], teacher='abc', image_size=96)
POSITION = torch.arange(24.0).view(1, 3, 2, 4)
IDS = [1, 2, 30, 2**40, -7, 'a', '1', 'ein Bär/7', '']


def feature(image_id, **about):
    about = {**ABOUT, **about}
    generator = torch.Generator().manual_seed(zlib.crc32(repr(image_id).encode()))
    embedding = torch.randn(about['shape'], generator=generator)
    return Feature(image_id, 17, encode(embedding, about['dtype']))


def same(a, b):
    return a[:2] == b[:2] and torch.equal(a.embedding.decode(), b.embedding.decode())


@pytest.fixture
def store(tmp_path):
    store = FeatureStore.create(tmp_path / 'store', ABOUT, POSITION, 100)
    store.write(map(feature, IDS))
    return store


def test_features_are_found_by_numbers_and_by_text(store):
    again = FeatureStore(store.folder)
    for image_id in reversed(IDS):
        assert same(again.read(image_id), feature(image_id))
    assert torch.equal(again.pos_embed, POSITION)
    assert again.read(np.int64(30)).image_id == 30


def test_features_that_are_not_there_or_damaged_are_named_and_the_others_are_read(store):
    with pytest.raises(KeyError, match='image 3. Dump the missing ones'):
        store.read(3)
    flip_bit(store, 30)
    with pytest.raises(DamagedFeatureError, match='image 30 '):
        store.read(30)
    assert all(same(store.read(i), feature(i)) for i in IDS if i != 30)
    assert store.missing(IDS) == []  # it is there, if damaged
    assert set(store.missing([*IDS, 3, 'b', 3])) == {3, 'b'}
    for image_id in (1.0, None, True):
        with pytest.raises(TypeError, match='integer or text'):
            store.read(image_id)
    path = shard_with(store, 30)
    path.write_bytes(path.read_bytes()[:70_000])
    with pytest.raises(DamagedFeatureError, match=path.name):
        store.missing(IDS)
    assert store.missing([*IDS, 3], skip_damaged=True) == [3]


def test_no_folder_of_a_large_store_holds_more_than_a_thousand_files(tmp_path):
    store = FeatureStore.create(tmp_path, ABOUT, POSITION, 11_000_000)  # all of SA-1B
    assert store.metadata['num_shards'] == 42_969
    paths = {store.shard_path(i) for i in range(2500)}
    assert len(paths) == 2500
    assert max(Counter(path.parent for path in paths).values()) <= 1000
    store = FeatureStore.create(tmp_path, ABOUT, POSITION, 20_000)
    images = Counter(store.shard_of(i) for i in range(20_000))
    assert len(images) == store.metadata['num_shards'] == 79
    assert min(images.values()) > 200 and max(images.values()) < 310


DAMAGED = ['', '{"version": 1', '[]', '{}', dict(num_shards=0), dict(num_shards='64')]
DAMAGED += [dict(shape=[4, 6]), dict(shape=[4, -6, 5]), dict(dtype='object')]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        *((content, 'store.json is damaged') for content in DAMAGED),
        ('{"version": 2}', 'version 2'),
        (dict(shape=[4, 6, 6]), 'sqlite: .*bytes, expected'),
    ],
)
def test_a_damaged_description_or_one_of_other_features_is_named(store, content, message):
    path, listed = store.folder / 'store.json', store.shard_paths()
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, **content}) if isinstance(content, dict) else content)
    with pytest.raises((ValueError, DamagedFeatureError), match=message):
        FeatureStore(store.folder).read(IDS[0])
    path.write_text(json.dumps({**about, 'num_shards': 10**18}))
    assert listed and FeatureStore(store.folder).shard_paths() == listed
    store.require(teacher='abc', shape=(4, 6, 5))
    differs = r'(?s)\A(?=.*fingerprint)(?=.*abc, not xyz)(?=.*96, not 1024)(?!.*shape)'
    with pytest.raises(ValueError, match=differs):
        store.require(teacher='xyz', image_size=1024, shape=(4, 6, 5))
    with pytest.raises(FileNotFoundError, match='dump_teacher_features.py CONFIG --out'):
        FeatureStore(store.folder.parent)


def test_a_damaged_position_embedding_is_named_and_a_disk_that_fails(store, monkeypatch):
    path = store.folder / 'pos_embed.safetensors'
    whole = path.read_bytes()
    for position in (-3, 0):
        content = bytearray(whole)
        content[position] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match='pos_embed.safetensors cannot be read'):
            _ = store.pos_embed

    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, 'read_bytes', fail)
    with pytest.raises(OSError, match='Input/output error.*pos_embed.safetensors'):
        _ = store.pos_embed


def test_what_was_written_before_a_kill_is_there_after_it(tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    print(f'seed {seed}')
    chance = random.Random(seed)
    about = dict(dtype='int8', shape=[16, 64, 64])
    store = FeatureStore.create(tmp_path, about, POSITION, 1)
    data = torch.randint(0, 256, (16 * 8 + 16 * 64 * 64,), dtype=torch.uint8)
    number = 0
    for _ in range(4):
        reader, writer = os.pipe()

        def write(first=number, pipe=writer):
            for i in range(first, first + 2000, 2):
                store.write(Feature(j, 0, EncodedEmbedding(data, **about)) for j in (i, i + 1))
                os.write(pipe, b'.')

        child = in_child(write)
        os.close(writer)
        os.read(reader, 1)  # it is writing now
        time.sleep(chance.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        written = 1
        while found := len(os.read(reader, 2**16)):
            written += found
        os.close(reader)
        store.recover()
        done = list(range(number, number + 2 * written))
        assert store.missing(done) == []
        for image_id in range(number, number + 2 * written + 4):
            if store.missing([image_id]) == []:  # the last ones may be there or not, never by half
                assert torch.equal(store.read(image_id).embedding.data, data)
        number += 2 * written
        # what a kill left by half
    shard_with(store, 1).with_name('.000001.sqlite.abc.tmp').write_bytes(b'half')
    path = store.shard_path(63).with_name('000063.sqlite-journal')
    path.unlink(missing_ok=True)
    store.shard_path(63).unlink(missing_ok=True)
    path.write_bytes(b'of a shard that somebody has removed')
    store.recover()
    assert not list(store.folder.glob('*/.*')) and not path.exists()

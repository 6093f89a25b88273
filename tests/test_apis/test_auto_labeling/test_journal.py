"""A journal outlives its writers, torn and damaged lines, and other settings."""

import random

import pytest

from mmovsam.apis.auto_labeling.journal import Journal, read_record

SETTINGS = dict(top_k=5, nested=dict(size=(3, 4)), names='ä')
RECORDS = [dict(file_name=f'{i}.jpg', objects=[dict(name='Ö\n', score=0.1 * i)]) for i in range(5)]


def journal(folder, **changes):
    return Journal(folder / 'out', dict(SETTINGS, **changes))


def write(folder, records, rank=0, **changes):
    with journal(folder, **changes).writer(rank) as write_record:
        for record in records:
            write_record(record)


def read(places):
    return {name: read_record(place) for name, place in places.items()}


@pytest.fixture
def file(tmp_path):
    """The file of a process that has written all records."""
    journal(tmp_path).open()
    write(tmp_path, RECORDS)
    return tmp_path / 'out.journal' / '0.jsonl'


def test_files_of_all_processes_are_one_journal(tmp_path):
    assert journal(tmp_path).open() == {}
    write(tmp_path, RECORDS[:2], rank=1)
    write(tmp_path, RECORDS[2:], rank=10)
    expected = {record['file_name']: record for record in RECORDS}
    assert read(journal(tmp_path).open()) == expected
    write(tmp_path, [dict(file_name='new')], rank=1)
    assert set(journal(tmp_path).locations()) == {*expected, 'new'}
    journal(tmp_path).remove()
    assert not list(tmp_path.iterdir())


def test_torn_file_keeps_its_whole_lines_and_goes_on(tmp_path, file):
    whole = file.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord('\n')]
    near_ends = {end + i for end in ends for i in (-2, -1, 0, 1)}
    for size in sorted({*range(0, len(whole), 29), *near_ends} & set(range(len(whole)))):
        file.write_bytes(whole[:size])
        found = journal(tmp_path).open()
        kept = max(sum(end <= size for end in ends) - 1, 0)  # the first line is the header
        assert list(found) == [record['file_name'] for record in RECORDS[:kept]], size
        write(tmp_path, RECORDS[kept:])
        assert file.read_bytes() == whole, size


def test_damaged_line_and_what_follows_are_forgotten(tmp_path, file):
    seed = random.randrange(10**6)
    print('seed', seed)
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    place = random.Random(seed).randrange(len(lines[0]) + len(lines[1]), len(whole) - 1)
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    found = read(journal(tmp_path).open())
    assert 1 <= len(found) < len(RECORDS)
    assert list(found.values()) == RECORDS[: len(found)]


def test_other_settings_are_told_or_forget_the_records_if_asked(tmp_path, file, monkeypatch):
    before = file.read_bytes()
    with pytest.raises(ValueError, match='top_k was 5 and is 3; more was null and is 1.*overwrite'):
        journal(tmp_path, top_k=3, more=1).open()
    with monkeypatch.context() as patch:
        patch.setattr('mmovsam.apis.auto_labeling.journal.VERSION', 2)
        with pytest.raises(ValueError, match='layout is not that of this version'):
            journal(tmp_path).open()
    assert file.read_bytes() == before and len(journal(tmp_path).open()) == len(RECORDS)
    assert journal(tmp_path, top_k=3).open(overwrite=True) == {}
    write(tmp_path, RECORDS[:1], top_k=3)
    assert len(journal(tmp_path, top_k=3).open(overwrite=True)) == 1  # the same settings


def test_record_of_a_failure_gives_way_to_a_better_one_in_any_order(tmp_path):
    journal(tmp_path).open()
    failed = dict(file_name='0.jpg', error='truncated')
    write(tmp_path, [failed], rank=1)
    assert journal(tmp_path).locations()['0.jpg'].failed
    write(tmp_path, RECORDS[:1], rank=0)
    write(tmp_path, [failed], rank=2)
    assert read(journal(tmp_path).locations()) == {'0.jpg': RECORDS[0]}

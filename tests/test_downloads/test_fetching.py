"""Files fetched from a server of the hub's kind, once and checked."""

import json
import os
import shutil
import threading
from types import SimpleNamespace

import pytest

from mmovsam.downloads import DownloadError, fetch, fetching, known, recorded_sha256

HUB = 'hf://own/repo/weights.pth'


@pytest.fixture
def printed(monkeypatch):
    """What was printed on the way."""
    lines = []
    monkeypatch.setattr(fetching, 'print_log', lambda text, **settings: lines.append(text))
    return lines


@pytest.fixture
def content(server):
    """Of a file of the hub and of one at an address."""
    content = os.urandom(300_000)
    server.files['/own/repo/weights.pth'] = server.files['/files/weights.pth'] = content
    return content


def test_hub_file_is_fetched_once_and_stays_at_its_commit(server, content):
    assert fetch(HUB).read_bytes() == content
    assert server.log.sent('weights.pth') == len(content)
    before = len(server.log.requests)
    server.files['/own/repo/weights.pth'], server.commit = b'newer', 'f' * 40
    assert fetch(HUB).read_bytes() == content
    assert len(server.log.requests) == before  # nothing is asked for


def test_lost_copy_is_fetched_again_at_the_commit_of_the_first_one(server, content, tmp_path):
    fetch(HUB)
    shutil.rmtree(tmp_path / 'hub')
    fetch(HUB)
    assert any(f'/resolve/{server.commit}/' in path for _, path, _ in server.log.requests)


def test_revision_in_the_address_is_asked_for(server, content):
    fetch('hf://own/repo@v1.0/weights.pth')
    assert server.log.count('HEAD', '/own/repo/resolve/v1.0/weights.pth') == 1


def test_copy_that_was_touched_is_checked_again(server, content):
    address = f'{server.url}/files/weights.pth'
    os.utime(fetch(address), (1, 1))
    assert fetch(address).read_bytes() == content
    assert server.log.sent('weights.pth') == len(content)


def test_hash_of_the_first_download_is_recorded(server, content):
    address = f'{server.url}/files/weights.pth'
    assert recorded_sha256(address) is None
    path = fetch(address)
    assert recorded_sha256(address) == fetching.sha256_of(path)


def test_connection_that_is_lost_is_made_again_from_there(server, content):
    server.cut['/files/weights.pth'] = 100_000
    assert fetch(f'{server.url}/files/weights.pth').read_bytes() == content
    assert [count for _, _, count in server.log.requests] == [100_000, 200_000]


def stopped(server, monkeypatch, after):
    """A download of which a part is there, as of a process that was killed."""
    address = f'{server.url}/files/weights.pth'
    server.cut['/files/weights.pth'] = after
    with monkeypatch.context() as patch:
        patch.setattr('mmovsam.downloads.http._LOST', ())
        with pytest.raises(DownloadError, match='goes on where it was'):
            fetch(address)
    server.log.requests.clear()
    return address


def test_download_of_a_killed_process_goes_on(server, content, monkeypatch):
    address = stopped(server, monkeypatch, 120_000)
    assert fetch(address).read_bytes() == content
    assert server.log.sent('weights.pth') == 180_000


def test_download_starts_over_where_the_file_is_another_one_by_now(server, content, monkeypatch):
    address = stopped(server, monkeypatch, 120_000)
    server.files['/files/weights.pth'] = newer = os.urandom(250_000)
    assert fetch(address).read_bytes() == newer


def test_part_of_an_older_file_is_not_taken_for_one_of_a_newer_that_did_not_fit(
    server, content, monkeypatch
):
    address = stopped(server, monkeypatch, 120_000)
    server.files['/files/weights.pth'] = newer = os.urandom(250_000)
    with monkeypatch.context() as patch, pytest.raises(DownloadError, match='does not fit'):
        patch.setattr('shutil.disk_usage', lambda folder: SimpleNamespace(free=0))
        fetch(address)
    assert fetch(address).read_bytes() == newer


def test_download_starts_over_where_the_server_knows_no_ranges(server, content, monkeypatch):
    address = stopped(server, monkeypatch, 120_000)
    server.ranges = False
    assert fetch(address).read_bytes() == content


def test_file_that_changed_here_is_refused(server, content):
    address = f'{server.url}/files/weights.pth'
    path = fetch(address)
    path.write_bytes(b'other')
    with pytest.raises(DownloadError, match=f'another file than before.*Delete {path}'):
        fetch(address)
    path.unlink()
    assert fetch(address).read_bytes() == content


def test_file_of_another_hash_than_the_known_one_is_refused(server, content, monkeypatch):
    monkeypatch.setitem(known.SHA256, HUB, fetching.sha256_of(fetch(HUB)))
    fetch(HUB)
    monkeypatch.setitem(known.SHA256, HUB, '0' * 64)
    with pytest.raises(DownloadError, match=f'expected is {"0" * 64}'):
        fetch(HUB)


def test_licence_is_shown_before_the_first_download_only(server, content, printed, monkeypatch):
    monkeypatch.setattr(fetching, 'licence_of', lambda address: 'on these terms')
    fetch(HUB)
    fetch(HUB)
    assert printed == [f'{HUB}: on these terms']


@pytest.mark.parametrize(
    ('address', 'licence'),
    [
        ('hf://HarborYuan/ovsam_models/sam2clip_vith_rn50x16.pth', 'S-Lab'),
        ('hf://HarborYuan/ovsam_models@main/clip2sam_coco_rn50x16.pth', 'S-Lab'),
        ('files/clip2sam_lvis_rn50x16.pth', 'non-commercial'),
        ('https://x/sam_vit_h_4b8939.pth#prompt_encoder.', 'Apache'),
        ('open_clip://RN50x16:openai', 'MIT'),
        ('my_sam.pth', None),
    ],
)
def test_licences_of_the_released_files_are_known(address, licence):
    found = known.licence_of(address)
    assert found is None if licence is None else licence in found


def test_one_of_many_downloads_and_the_others_wait(server, content, printed):
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.append(fetch(f'{server.url}/files/weights.pth')))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4 and len(set(paths)) == 1
    assert server.log.sent('weights.pth') == len(content)


def test_open_clips_weights_come_by_their_name(server, content, monkeypatch):
    import open_clip

    listed = dict(openai=dict(hf_hub='own/repo/weights.pth'))
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny', listed)
    assert fetch('open_clip://tiny:openai').read_bytes() == content


def test_open_clips_safetensors_are_preferred_where_there_are_some(server, monkeypatch):
    import open_clip

    listed = dict(one=dict(hf_hub='own/both/weights.bin'), two=dict(hf_hub='own/old/'))
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny', listed)
    server.files['/own/both/weights.bin'] = server.files['/own/old/open_clip_pytorch_model.bin'] = (
        b'old'
    )
    server.files['/own/both/weights.safetensors'] = b'new'
    assert fetch('open_clip://tiny:one').read_bytes() == b'new'
    assert fetch('open_clip://tiny:two').read_bytes() == b'old'


def test_open_clips_weights_at_an_address_are_fetched_as_others_are(server, content, monkeypatch):
    import open_clip

    listed = dict(openai=dict(url=f'{server.url}/files/weights.pth', hf_hub=''))
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny', listed)
    server.cut['/files/weights.pth'] = 1000
    assert fetch('open_clip://tiny:openai').read_bytes() == content


def test_hub_that_does_not_answer_is_asked_once_and_its_cache_serves(
    server, content, cache, monkeypatch
):
    from huggingface_hub import constants

    fetch(HUB)
    shutil.rmtree(cache)  # no record any more, as of a file that another program fetched
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:1')
    assert fetch(HUB).read_bytes() == content
    for address in ('hf://own/repo/other.pth', 'open_clip://RN50x16:openai'):
        with pytest.raises(DownloadError, match=f'cannot be reached to fetch {address}'):
            fetch(address)


def test_unknown_tag_is_answered_with_the_known_ones(cache):
    with pytest.raises(ValueError, match="no model and tag.*'RN50x16': openai"):
        fetch('open_clip://RN50x16:laion')


@pytest.mark.parametrize('address', ['hf://own', 'hf://own/repo', 'ftp://own/repo/file'])
def test_incomplete_or_unknown_address_is_refused(address, cache):
    with pytest.raises(ValueError, match='expected'):
        fetch(address)


def test_moved_files_say_so(server, content):
    for address in ('hf://own/repo/gone.pth', 'hf://own/gone/a.pth', f'{server.url}/gone.pth'):
        with pytest.raises(DownloadError, match=f'{address} is not there: it was moved'):
            fetch(address)


def test_busy_server_is_named_with_its_answer(server, content):
    server.status['/files/weights.pth'] = 503
    with pytest.raises(DownloadError, match='cannot serve .*HTTP 503.*Try again later'):
        fetch(f'{server.url}/files/weights.pth')


def test_full_disk_is_found_before_it_is_full(server, content, monkeypatch):
    monkeypatch.setattr(
        'mmovsam.downloads.http.shutil.disk_usage', lambda folder: SimpleNamespace(free=1000)
    )
    with pytest.raises(DownloadError, match='does not fit on the disk.*MMOVSAM_CACHE'):
        fetch(f'{server.url}/files/weights.pth')


def test_machine_without_a_network_is_told_what_to_do(cache):
    with pytest.raises(DownloadError, match='cannot be reached.*online.*HTTPS_PROXY'):
        fetch('http://127.0.0.1:1/weights.pth')


def test_address_needs_the_cache(monkeypatch):
    monkeypatch.setenv('MMOVSAM_CACHE', 'off')
    with pytest.raises(DownloadError, match='MMOVSAM_CACHE=off'):
        fetch('http://127.0.0.1:1/weights.pth')


def test_damaged_record_costs_a_new_one(server, content, cache):
    address = f'{server.url}/files/weights.pth'
    fetch(address)
    [record] = (cache / 'downloads').glob('*.json')
    record.write_text('{')
    fetch(address)
    assert json.loads(record.read_text())['address'] == address

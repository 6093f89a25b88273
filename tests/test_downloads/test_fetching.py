"""Files fetched from a server of the hub's kind, once and checked."""

import json
import os
import shutil
import threading
from types import SimpleNamespace

import pytest

from mmovsam.downloads import DownloadError, fetch, fetching, licence_of, recorded_sha256

HUB = 'hf://own/repo/weights.pth'


@pytest.fixture
def printed(monkeypatch):
    """What was printed on the way."""
    lines = []
    monkeypatch.setattr(fetching, 'warn', lines.append)
    monkeypatch.setattr(fetching, 'print_log', lambda text, **settings: lines.append(text))
    return lines


@pytest.fixture
def content(server):
    """Of a file of the hub and of one at an address."""
    content = os.urandom(300_000)
    server.files['/own/repo/weights.pth'] = server.files['/files/weights.pth'] = content
    return content


def test_hub_file_is_fetched_once_and_stays_at_its_commit(server, content, tmp_path):
    assert fetch(HUB).read_bytes() == content
    assert server.log.sent('weights.pth') == len(content)
    before, first = len(server.log.requests), server.commit
    server.files['/own/repo/weights.pth'], server.commit = b'newer', 'f' * 40
    assert fetch(HUB).read_bytes() == content
    assert len(server.log.requests) == before  # nothing is asked for
    fetch('hf://own/repo@v1.0/weights.pth')  # a revision
    assert server.log.count('HEAD', '/own/repo/resolve/v1.0/weights.pth') == 1
    server.files['/own/repo/weights.pth'], server.commit = content, first
    shutil.rmtree(tmp_path / 'hub')  # what is lost comes from the commit of the first time
    fetch(HUB)
    assert any(f'/resolve/{first}/' in path for _, path, _ in server.log.requests)


def test_connection_that_is_lost_is_made_again_from_there(server, content):
    server.cut['/files/weights.pth'] = 100_000
    assert fetch(f'{server.url}/files/weights.pth').read_bytes() == content
    assert [count for _, _, count in server.log.requests] == [100_000, 200_000]


def test_licence_is_shown_before_the_first_download_only(server, content, printed, monkeypatch):
    for address, licence in (
        ('hf://HarborYuan/ovsam_models@main/clip2sam_coco_rn50x16.pth', 'S-Lab'),
        ('files/clip2sam_lvis_rn50x16.pth', 'non-commercial'),
        ('https://x/sam_vit_h_4b8939.pth#prompt_encoder.', 'Apache'),
        ('open_clip://RN50x16:openai', 'MIT'),
    ):
        assert licence in licence_of(address)
    assert licence_of('my_sam.pth') is None
    monkeypatch.setattr(fetching, 'licence_of', lambda address: 'on these terms')
    fetch(HUB)
    fetch(HUB)
    assert printed == [f'{HUB}: on these terms']


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


@pytest.fixture
def address(server, content):
    return f'{server.url}/files/weights.pth'


@pytest.mark.parametrize('kind', ['same', 'newer', 'newer that did not fit', 'no ranges'])
def test_download_of_a_killed_process_goes_on_or_starts_over(
    server, content, address, monkeypatch, kind
):
    server.cut['/files/weights.pth'] = 120_000
    with monkeypatch.context() as patch:
        patch.setattr('mmovsam.downloads.http._LOST', ())
        with pytest.raises(DownloadError, match='goes on where it was'):
            fetch(address)
    server.log.requests.clear()
    if kind.startswith('newer'):
        server.files['/files/weights.pth'] = content = os.urandom(250_000)
    if kind == 'newer that did not fit':
        with monkeypatch.context() as patch, pytest.raises(DownloadError, match='does not fit'):
            patch.setattr('shutil.disk_usage', lambda folder: SimpleNamespace(free=0))
            fetch(address)
        server.log.requests.clear()
    server.ranges = kind != 'no ranges'
    assert fetch(address).read_bytes() == content
    assert server.log.sent('weights.pth') == (180_000 if kind == 'same' else len(content))


def test_copy_that_was_touched_is_checked_again_and_one_that_changed_is_refused(
    server, content, address, cache
):
    assert recorded_sha256(address) is None
    path = fetch(address)
    assert recorded_sha256(address) == fetching.sha256_of(path)
    os.utime(path, (1, 1))
    assert fetch(address).read_bytes() == content
    assert server.log.sent('weights.pth') == len(content)
    path.write_bytes(b'other')
    with pytest.raises(DownloadError, match=f'another file than before.*Delete {path}'):
        fetch(address)
    path.unlink()
    assert fetch(address).read_bytes() == content
    [record] = (cache / 'downloads').glob('*.json')
    record.write_text('{')  # a damaged one costs a new one
    fetch(address)
    assert json.loads(record.read_text())['address'] == address


@pytest.mark.parametrize(
    ('listed', 'found'),
    [
        (dict(hf_hub='own/repo/weights.pth'), None),
        (dict(hf_hub='own/both/weights.bin'), b'new'),  # safetensors, where there are some
        (dict(hf_hub='own/old/'), b'old'),
        (dict(url='/files/weights.pth', hf_hub=''), None),
    ],
)
def test_open_clips_weights_come_by_their_name(server, content, monkeypatch, listed, found):
    import open_clip

    server.files['/own/both/weights.bin'] = b'old'
    server.files['/own/old/open_clip_pytorch_model.bin'] = b'old'
    server.files['/own/both/weights.safetensors'] = b'new'
    if 'url' in listed:
        listed = dict(listed, url=server.url + listed['url'])
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny', dict(one=listed))
    assert fetch('open_clip://tiny:one').read_bytes() == (found or content)


@pytest.mark.parametrize(
    ('address', 'error', 'message'),
    [
        *((text, ValueError, 'expected') for text in ('hf://own', 'hf://own/repo', 'ftp://a/b/c')),
        ('open_clip://RN50x16:laion', ValueError, "no model and tag.*'RN50x16': openai"),
        ('hf://own/repo/gone.pth', DownloadError, 'gone.pth is not there: it was moved'),
        ('hf://own/gone/a.pth', DownloadError, 'hf://own/gone/a.pth is not there: it was moved'),
        ('{url}/gone.pth', DownloadError, 'gone.pth is not there: it was moved'),
        ('{url}/busy.pth', DownloadError, 'cannot serve .*HTTP 503.*Try again later'),
        ('{url}/files/page', DownloadError, 'page gave a web page'),
        ('{url}/files/pointer', DownloadError, 'pointer gave the pointer of .* Git LFS'),
        ('{url}/files/weights.pth', DownloadError, 'does not fit on the disk.*MMOVSAM_CACHE'),
        ('http://127.0.0.1:1/a.pth', DownloadError, 'cannot be reached.*online.*HTTPS_PROXY'),
    ],
)
def test_what_cannot_be_fetched_is_told_and_not_kept(
    server, content, address, error, message, monkeypatch
):
    server.status['/busy.pth'] = 503
    server.files['/files/page'] = b' <!DOCTYPE html><html>Sign in</html>'
    server.files['/files/pointer'] = b'version https://git-lfs.github.com/spec/v1\nsize 3'
    address = address.format(url=server.url)
    with monkeypatch.context() as patch, pytest.raises(error, match=message):
        if address.endswith('weights.pth'):
            patch.setattr(shutil, 'disk_usage', lambda folder: SimpleNamespace(free=1000))
        fetch(address)
    if '/files/' in address:
        server.files[f'/files/{address.rpartition("/")[2]}'] = content
        assert fetch(address).read_bytes() == content
    monkeypatch.setenv('MMOVSAM_CACHE', 'off')
    with pytest.raises(DownloadError, match='MMOVSAM_CACHE=off'):
        fetch(f'{server.url}/files/weights.pth')

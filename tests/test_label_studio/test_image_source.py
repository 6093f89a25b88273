"""Where images of tasks may come from, and what is refused."""

import os
import socket

import cv2
import numpy as np
import pytest
from PIL import Image

from mmovsam.label_studio import ImageSource
from mmovsam.pixels import to_color

UPLOAD = '/data/upload/3/35d9033d-plum.png'
LOCAL = '/data/local-files/?d='


def read(source, address):
    return source.read(source.locate(address))


def redirect(address, status=302):
    return status, b'', {'Location': address}


@pytest.fixture
def root(tmp_path, png):
    """A folder of local files with a picture, and one outside that nobody may see."""
    folder = tmp_path / 'root'
    (folder / 'fruit').mkdir(parents=True)
    (folder / 'fruit' / 'a plüm.png').write_bytes(png)
    (tmp_path / 'secret.png').write_bytes(png)
    (folder / 'link.png').symlink_to(tmp_path / 'secret.png')
    return folder


def test_upload_is_fetched_with_the_key_and_quoted_if_it_is_not_yet(label_studio, picture, png):
    source = ImageSource(label_studio.url, 'legacy')
    for path, address in [
        (UPLOAD, UPLOAD),
        (UPLOAD, label_studio.url + UPLOAD),
        ('/data/upload/3/a%20pl%C3%BCm%5B1%5D.png', '/data/upload/3/a plüm%5B1%5D.png'),
        ('/data/upload/3/a%20b.png', '/data/upload/3/a%20b.png'),
        (f'{LOCAL}fruit/plum.png', f'{LOCAL}fruit/plum.png'),  # without a data_root
    ]:
        label_studio.pages[path] = (200, png, {})
        assert np.array_equal(read(source, address), picture)
        assert label_studio.requests.pop() == (path, 'Token legacy')


def test_personal_token_is_exchanged_once_and_again_when_it_is_old(label_studio, picture, png):
    label_studio.pages[UPLOAD] = (200, png, {})
    source = ImageSource(label_studio.url, 'a.b.c')
    for token, number in (('none yet', 1), (None, 1), ('a newer one', 4)):
        label_studio.token = token or label_studio.token
        assert np.array_equal(read(source, UPLOAD), picture)
        assert label_studio.requests[-1][1] == f'Bearer access{number}'


@pytest.mark.parametrize('key', [None, 'legacy', 'd.e.f'])
def test_key_that_opens_nothing_is_named(label_studio, png, key):
    label_studio.pages[UPLOAD] = (200, png, {})
    label_studio.token = 'Token right'
    with pytest.raises(PermissionError, match='status 401.*LABEL_STUDIO_API_KEY'):
        read(ImageSource(label_studio.url, key), UPLOAD)


def test_missing_uploads_failing_servers_and_silent_ones_are_told_apart(label_studio):
    label_studio.pages['/broken.png'] = (500, b'', {})
    source = ImageSource(label_studio.url)
    with pytest.raises(FileNotFoundError, match='35d9033d-plum.png does not exist'):
        read(source, UPLOAD)
    with pytest.raises(ConnectionError, match='broken.png cannot be fetched .status 500'):
        read(source, '/broken.png')
    with socket.create_server(('127.0.0.1', 0)) as silent:
        url = f'http://127.0.0.1:{silent.getsockname()[1]}'
        with pytest.raises(ConnectionError, match='longer than 0.2 s'):
            read(ImageSource(url, timeout=0.2), '/x.png')
    with pytest.raises(ConnectionError, match='cannot be fetched'):
        read(ImageSource(url, timeout=5), '/x.png')


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match='address is not known here.*--label-studio'):
        ImageSource().locate(UPLOAD)
    for url in ('localhost:8080', 'ftp://host', 'http://', 'http://a@host'):
        with pytest.raises(ValueError, match='no address of Label Studio'):
            ImageSource(url)
    with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
        ImageSource(data_root=tmp_path / 'nowhere')


def test_other_host_needs_to_be_allowed_and_never_sees_the_key(
    label_studio, start_server, picture, png
):
    other = start_server()
    other.pages['/plum.png'] = (200, png, {})
    with pytest.raises(PermissionError, match=rf'--allow-host 127.0.0.1:{other.server_port}'):
        ImageSource(label_studio.url, 'key').locate(other.url + '/plum.png')
    allowed = [f'127.0.0.1:{other.server_port}']
    source = ImageSource(label_studio.url, 'key', allowed_hosts=allowed)
    assert np.array_equal(read(source, other.url + '/plum.png'), picture)
    for status in (301, 302, 303, 307, 308):
        label_studio.pages[UPLOAD] = redirect('/moved', status)
        label_studio.pages['/moved'] = redirect(other.url + '/plum.png', status)
        assert np.array_equal(read(source, UPLOAD), picture)
    assert set(other.requests) == {('/plum.png', None)}


def test_redirect_to_elsewhere_or_in_circles_is_refused(label_studio):
    for target in ('http://169.254.169.254/x', 'file:///etc/passwd', 'gopher:x'):
        label_studio.pages[UPLOAD] = redirect(target)
        with pytest.raises((PermissionError, ValueError), match='not fetched|no address of an im'):
            read(ImageSource(label_studio.url), UPLOAD)
    label_studio.requests.clear()
    label_studio.pages[UPLOAD] = redirect(UPLOAD)
    with pytest.raises(ConnectionError, match='redirects'):
        read(ImageSource(label_studio.url), UPLOAD)
    assert len(label_studio.requests) == 5


@pytest.mark.parametrize(
    'address',
    [
        'http://169.254.169.254/latest/meta-data',
        'http://localhost.example/x.png',
        'http://localhost:8081/x.png',
        'https://localhost:8080/x.png',
        'http://localhost:8080@evil.example/x.png',
        'http://evil.example\\@localhost:8080/x.png',
        '//evil.example/data/upload/x.png',
        'file:///etc/passwd',
        'ftp://localhost:8080/x.png',
        'data:image/png;base64,AAAA',
        's3://bucket/x.png',
        *(None, '', 3, ['/data/upload/1.png']),
    ],
)
def test_address_of_another_place_or_none_is_refused(address):
    source = ImageSource('http://localhost:8080', 'key', allowed_hosts=['example.org'])
    message = '--allow-host|no address of an image|given by its address'
    with pytest.raises((PermissionError, ValueError), match=message):
        source.locate(address)


@pytest.mark.parametrize('host', ['', 'http://localhost:8080'])
def test_local_file_is_read_below_the_folder_and_is_another_image_once_it_changed(
    root, picture, host
):
    source = ImageSource(host or None, data_root=root)
    spellings = ('a plüm.png', 'a%20pl%C3%BCm.png', 'a plu\u0308m.png', '../fruit/a plüm.png')
    for name in spellings:
        for path in (LOCAL, LOCAL.replace('/?', '?')):
            assert np.array_equal(read(source, f'{host}{path}fruit/{name}'), picture)
    before = source.locate(f'{host}{LOCAL}fruit/a plüm.png')
    assert source.locate(f'{host}{LOCAL}fruit/a plüm.png') == before
    os.utime(before.path, ns=(1, 1))
    assert source.locate(f'{host}{LOCAL}fruit/a plüm.png') != before


def test_paths_out_of_the_folder_and_missing_files_are_refused(root):
    source = ImageSource(data_root=root)
    absolute = str(root.parent / 'secret.png')
    outside = ('../secret.png', '..%2Fsecret.png', absolute, 'link.png', 'fruit/../../secret.png')
    for name in outside:
        with pytest.raises(PermissionError, match='not below the folder'):
            source.locate(LOCAL + name)
    for name in ('', 'fruit', 'fruit/fig.png'):
        with pytest.raises(FileNotFoundError, match='LOCAL_FILES_DOCUMENT_ROOT'):
            source.locate(LOCAL + name)


def test_images_are_turned_as_their_exif_says_and_deep_ones_scaled(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter clockwise
    Image.fromarray(picture).save(tmp_path / 'turned.png', exif=exif)
    values = np.random.default_rng(1).integers(0, 4096, (24, 40, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / 'deep.png'), values[..., ::-1])
    source = ImageSource(data_root=tmp_path, value_range=(100, 3000))
    assert np.array_equal(read(source, f'{LOCAL}turned.png'), np.rot90(picture, -1))
    assert np.array_equal(read(source, f'{LOCAL}deep.png'), to_color(values, (100, 3000)))


def test_truncated_foreign_and_too_large_files_are_refused(tmp_path, label_studio, png):
    file = tmp_path / 'image'
    for data in (b'', b'<html>', png[:-40], png[: len(png) // 2], b'%!PS-Adobe-3.0 EPSF-3.0\n'):
        file.write_bytes(data)
        with pytest.raises(ValueError, match='truncated or no image'):
            read(ImageSource(data_root=tmp_path), f'{LOCAL}image')
    file.write_bytes(png)
    for limit, message in [
        (dict(max_bytes=1000), 'more than 0.001 MB'),
        (dict(max_pixels=900), '40x24 pixels; the limit here is 0.0009 million'),
    ]:
        with pytest.raises(ValueError, match=message):
            read(ImageSource(data_root=tmp_path, **limit), f'{LOCAL}image')
    label_studio.pages[UPLOAD] = (200, bytes(300_000), {})
    with pytest.raises(ValueError, match='more than 0.2 MB'):
        read(ImageSource(label_studio.url, max_bytes=200_000), UPLOAD)

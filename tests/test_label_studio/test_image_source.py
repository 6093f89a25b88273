"""Where images of tasks may come from, and what is refused."""

import io
import os
import socket

import cv2
import numpy as np
import pytest
from PIL import Image

from mmovsam.label_studio import ImageSource
from mmovsam.pixels import to_color

UPLOAD = '/data/upload/3/35d9033d-plum.png'


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
    return folder


# Label Studio


def test_upload_is_fetched_with_the_key(label_studio, picture, png):
    label_studio.pages[UPLOAD] = (200, png, {})
    source = ImageSource(label_studio.url, 'legacy')
    assert np.array_equal(read(source, UPLOAD), picture)
    assert np.array_equal(read(source, label_studio.url + UPLOAD), picture)
    assert label_studio.asked == 2 * [(UPLOAD, 'Token legacy')]


def test_address_is_quoted_if_it_is_not_yet(label_studio, root, picture, png):
    label_studio.pages['/data/upload/3/a%20pl%C3%BCm%5B1%5D.png'] = (200, png, {})
    label_studio.pages['/data/local-files/?d=a%20b.png'] = (200, png, {})  # without a data_root
    source = ImageSource(label_studio.url)
    for address in ('/data/upload/3/a plüm%5B1%5D.png', '/data/local-files/?d=a%20b.png'):
        assert np.array_equal(read(source, address), picture)


def test_personal_token_is_exchanged_once_and_again_when_it_is_old(label_studio, picture, png):
    label_studio.pages[UPLOAD] = (200, png, {})
    label_studio.token = 'none yet'
    source = ImageSource(label_studio.url, 'a.b.c')
    for _ in range(2):
        assert np.array_equal(read(source, UPLOAD), picture)
    assert [token for _, token in label_studio.asked][1:] == 2 * ['Bearer access1']
    label_studio.token = 'a newer one'
    assert np.array_equal(read(source, UPLOAD), picture)
    assert label_studio.asked[-1][1] == 'Bearer access4'


@pytest.mark.parametrize('key', [None, 'legacy', 'd.e.f'])
def test_key_that_opens_nothing_is_named(label_studio, png, key):
    label_studio.pages[UPLOAD] = (200, png, {})
    label_studio.token = 'Token right'
    with pytest.raises(PermissionError, match='status 401.*LABEL_STUDIO_API_KEY'):
        read(ImageSource(label_studio.url, key), UPLOAD)


def test_missing_upload_and_a_failing_server_are_told_apart(label_studio):
    label_studio.pages['/broken.png'] = (500, b'', {})
    source = ImageSource(label_studio.url)
    with pytest.raises(FileNotFoundError, match='35d9033d-plum.png does not exist'):
        read(source, UPLOAD)
    with pytest.raises(ConnectionError, match='broken.png cannot be fetched .status 500'):
        read(source, '/broken.png')


def test_address_of_label_studio_is_needed_and_is_one_of_the_web():
    with pytest.raises(ValueError, match='address is not known here.*--label-studio'):
        ImageSource().locate(UPLOAD)
    for url in ('localhost:8080', 'ftp://host', 'http://', 'http://a@host'):
        with pytest.raises(ValueError, match='no address of Label Studio'):
            ImageSource(url)


# Other hosts


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
    assert set(other.asked) == {('/plum.png', None)}


def test_redirect_to_elsewhere_or_in_circles_is_refused(label_studio):
    for target in ('http://169.254.169.254/x', 'file:///etc/passwd', 'gopher:x'):
        label_studio.pages[UPLOAD] = redirect(target)
        with pytest.raises((PermissionError, ValueError), match='not fetched|no address of an im'):
            read(ImageSource(label_studio.url), UPLOAD)
    label_studio.asked.clear()
    label_studio.pages[UPLOAD] = redirect(UPLOAD)
    with pytest.raises(ConnectionError, match='redirects'):
        read(ImageSource(label_studio.url), UPLOAD)
    assert len(label_studio.asked) == 5


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
    ],
)
def test_address_of_another_place_is_refused(address):
    source = ImageSource('http://localhost:8080', 'key', allowed_hosts=['example.org'])
    with pytest.raises((PermissionError, ValueError), match='--allow-host|no address of an image'):
        source.locate(address)


def test_address_that_is_none_is_refused():
    for address in (None, '', 3, ['/data/upload/1.png']):
        with pytest.raises(ValueError, match='given by its address'):
            ImageSource('http://localhost:8080').locate(address)


def test_server_that_does_not_answer_is_given_up():
    with socket.create_server(('127.0.0.1', 0)) as silent:
        url = f'http://127.0.0.1:{silent.getsockname()[1]}'
        with pytest.raises(ConnectionError, match='longer than 0.2 s'):
            read(ImageSource(url, timeout=0.2), '/x.png')
    with pytest.raises(ConnectionError, match='cannot be fetched'):
        read(ImageSource(url, timeout=5), '/x.png')


# Local files


@pytest.mark.parametrize('host', ['', 'http://localhost:8080'])
def test_local_file_is_read_below_the_folder_and_is_another_image_once_it_changed(
    root, picture, host
):
    source = ImageSource(host or None, data_root=root)
    for name in ('fruit/a plüm.png', 'fruit/a%20pl%C3%BCm.png', './fruit/../fruit/a plüm.png'):
        for path in ('/data/local-files/', '/data/local-files'):
            assert np.array_equal(read(source, f'{host}{path}?d={name}'), picture)
    address = f'{host}/data/local-files/?d=fruit/a plüm.png'
    before = source.locate(address)
    assert source.locate(address) == before
    os.utime(before.path, ns=(1, 1))
    assert source.locate(address) != before


def test_path_out_of_the_folder_and_missing_files_are_refused(root):
    (root / 'link.png').symlink_to(root.parent / 'secret.png')
    source = ImageSource(data_root=root)
    absolute = str(root.parent / 'secret.png')
    outside = ('../secret.png', '..%2Fsecret.png', absolute, 'link.png', 'fruit/../../secret.png')
    for name in outside:
        with pytest.raises(PermissionError, match='not below the folder'):
            source.locate(f'/data/local-files/?d={name}')
    for name in ('', 'fruit', 'fruit/fig.png'):
        with pytest.raises(FileNotFoundError, match='LOCAL_FILES_DOCUMENT_ROOT'):
            source.locate(f'/data/local-files/?d={name}')
    with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
        ImageSource(data_root=root / 'nowhere')


# Content


@pytest.fixture
def stored(tmp_path):
    """`stored(bytes)`: the address of a local file that has them, and a source that reads it."""

    def store(data, **limits):
        (tmp_path / 'image').write_bytes(data)
        return ImageSource(data_root=tmp_path, **limits), '/data/local-files/?d=image'

    return store


def test_image_is_turned_as_its_exif_says_and_deep_ones_are_scaled(stored, picture):
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter clockwise
    Image.fromarray(picture).save(stream, 'PNG', exif=exif)
    assert np.array_equal(read(*stored(stream.getvalue())), np.rot90(picture, -1))
    values = np.random.default_rng(1).integers(0, 4096, (24, 40, 3), dtype=np.uint16)
    data = cv2.imencode('.png', values[..., ::-1])[1].tobytes()
    found = read(*stored(data, value_range=(100, 3000)))
    assert np.array_equal(found, to_color(values, (100, 3000)))


def test_truncated_and_foreign_files_are_refused(stored, png):
    for data in (b'', b'<html>', png[:-40], png[: len(png) // 2], b'%!PS-Adobe-3.0 EPSF-3.0\n'):
        with pytest.raises(ValueError, match='truncated or no image'):
            read(*stored(data))


def test_too_large_files_and_images_are_refused(stored, label_studio, png):
    with pytest.raises(ValueError, match='more than 0.001 MB'):
        read(*stored(png, max_bytes=1000))
    with pytest.raises(ValueError, match='40x24 pixels; the limit here is 0.0009 million'):
        read(*stored(png, max_pixels=900))
    label_studio.pages[UPLOAD] = (200, bytes(300_000), {})
    with pytest.raises(ValueError, match='more than 0.2 MB'):
        read(ImageSource(label_studio.url, max_bytes=200_000), UPLOAD)

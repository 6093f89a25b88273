"""The page as a server: what it hands out, takes in, and keeps for itself."""

import base64
import json
import os
import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

gradio = pytest.importorskip('gradio', reason="no Gradio: pip install 'mmovsam[test]'")

import httpx  # noqa: E402  it comes with Gradio

from mmovsam.apis.loading import load_examples  # noqa: E402
from mmovsam.web import Session, SessionStore  # noqa: E402
from mmovsam.web.page import Page  # noqa: E402
from mmovsam.web.serving import Limits, remove_old_files, serving  # noqa: E402
from mmovsam.web.session_store import RESTING  # noqa: E402

LIMITS = Limits(max_file_size=30_000, max_pixels=5000, max_sessions=1)


@pytest.fixture(scope='module')
def client(predictor, name_encoder):
    with serving(predictor, name_encoder, LIMITS) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture(scope='module')
def handlers(client):
    """The number of each handler, by its name."""
    config = client.get('config').json()
    return {each['api_name']: each['id'] for each in config['dependencies']}


@pytest.fixture
def call(client, handlers):
    """Have a queued handler run as a browser does; returns what it said last."""

    def run(name, *data, session='ann', **event):
        body = dict(
            data=data, fn_index=handlers[name], session_hash=session, event_data=event or None
        )
        client.post('gradio_api/queue/join', json=body).raise_for_status()
        path = f'gradio_api/queue/data?session_hash={session}'
        with client.stream('GET', path, timeout=None) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix('data: ') or '{}')
                if message.get('msg') == 'process_completed':
                    return message
        raise AssertionError('the server did not answer')

    return run


def upload(client, content, name='cat.png'):
    return client.post('gradio_api/upload', files=dict(files=(name, content)))


def as_input(path):
    return dict(path=path, meta=dict(_type='gradio.FileData'))


@pytest.fixture
def png(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / 'cat.png')
    return (tmp_path / 'cat.png').read_bytes()


def test_uploaded_file_is_read_and_removed(client, call, png):
    (path,) = upload(client, png).json()
    folder = Path(os.environ['GRADIO_TEMP_DIR'])
    assert folder in Path(path).parents and Path(path).is_file()
    said = call('upload', as_input(path))
    assert said['success'] and 'Encoded in' in json.dumps(said)
    assert not [file for file in folder.rglob('*') if file.is_file() and file.stat().st_size]


def test_files_that_were_not_read_are_removed_in_time(tmp_path):
    old, new = tmp_path / 'a' / 'old.png', tmp_path / 'b' / 'new.png'
    for file in (old, new):
        file.parent.mkdir()
        file.write_bytes(b'x')
    for path in (old, old.parent, new.parent):
        os.utime(path, (0, 0))
    remove_old_files(tmp_path, 60)
    assert not old.exists() and new.exists()
    os.utime(old.parent, (0, 0))  # it changed when its file went
    remove_old_files(tmp_path, 60)
    assert not old.parent.exists()


@pytest.mark.parametrize(
    'content, message',
    [
        (b'no picture', 'cat.png is truncated or no image'),
        ((90, 60), 'cat.png has 90x60 pixels; the limit here'),
    ],
)
def test_bad_file_is_named_and_removed(client, call, tmp_path, content, message):
    if isinstance(content, tuple):
        Image.new('RGB', content).save(tmp_path / 'cat.png')
        content = (tmp_path / 'cat.png').read_bytes()
    (path,) = upload(client, content).json()
    said = json.dumps(call('upload', as_input(path)))
    assert message in said and 'status error' in said
    assert not Path(path).exists()


def test_file_that_is_too_large_is_refused_before_it_is_stored(client):
    said = upload(client, bytes(LIMITS.max_file_size + 1))
    assert said.status_code == 413 and 'maximum allowed size' in said.text


def test_files_of_the_server_cannot_be_opened_as_pictures(call, tmp_path, png):
    path = tmp_path / 'cat.png'
    assert not call('upload', as_input(str(path)))['success'] and path.is_file()


def test_nothing_is_handed_out_nor_fetched_from_or_told_to_others(client, tmp_path, png):
    for path in (tmp_path / 'cat.png', __file__, '/etc/passwd', f'{client.base_url}config'):
        said = client.get(f'gradio_api/file={path}', follow_redirects=False)
        assert said.status_code >= 400
    config = client.get('config').json()
    assert config['analytics_enabled'] is False and not config.get('run_history')
    info = client.get('gradio_api/info').json()  # handlers are no public interface
    assert info['named_endpoints'] == {} == info['unnamed_endpoints']
    assert client.base_url.host == '127.0.0.1'
    for path in ('', 'theme.css'):
        text = client.get(path).text
        fetched = re.findall(r'(?:src=|href=|url\(|@import )["\']?(https?:[^"\')\s]+)', text)
        assert not [url for url in fetched if not url.startswith(str(client.base_url))]


def test_examples_are_offered_where_there_are_any(monkeypatch):
    page = Page(SessionStore(list), (), 2, 9, examples=load_examples())
    shown = json.dumps(page.layout().get_config_file())
    assert 'choose one of those below' in shown and 'coffee: Rachel Michetti, CC0' in shown
    monkeypatch.setitem(sys.modules, 'skimage', None)
    page = Page(SessionStore(list), (), 2, 9, examples=load_examples())
    shown = json.dumps(page.layout().get_config_file())
    assert 'Open a picture.' in shown and 'below' not in shown


def test_an_example_is_opened_under_its_name(predictor, name_encoder, picture):
    examples = {'cat: mine': picture, 'dog: mine': picture[:30]}
    session = Session(predictor.fork(), name_encoder)
    page = Page(SessionStore(lambda: session), (), 2, 9, examples=examples)
    page.layout()
    list(page.example(SimpleNamespace(key=1), SimpleNamespace(session_hash='ann')))
    assert session.file_name == 'dog.jpg' and session.image.shape == (30, 80, 3)


def test_names_of_the_model_are_shown_if_they_fit():
    for max_names, shown in ((3, 'ant\nbee\ncow'), (2, '')):
        page = Page(SessionStore(list), ('ant', 'bee', 'cow'), max_names, max_pixels=9)
        components = page.layout().get_config_file()['components']
        props = [component['props'] for component in components]
        (field,) = [each for each in props if each.get('elem_id') == 'names']
        assert (field['value'] or '') == shown


def test_sessions_rest_before_they_are_forgotten(client, call, png):
    last = 1 + RESTING
    for user in range(last + 1):
        (path,) = upload(client, png).json()
        assert call('upload', as_input(path), session=f'user{user}')['success']
    assert 'no picture: open one' in json.dumps(call('everything', '', session='user0'))
    for user in (2, last):
        assert 'found of: cat' in json.dumps(call('find', 'cat', '', session=f'user{user}'))


@pytest.fixture
def page(predictor, name_encoder, picture):
    """With an example, and one session."""
    session = Session(predictor.fork(), name_encoder)
    page = Page(SessionStore(lambda: session), (), 2, 9, 2000, examples={'cat: mine': picture})
    page.layout()
    return page


ANN = SimpleNamespace(session_hash='ann')


def test_what_the_browser_is_to_keep_follows_the_list(page, picture):
    (_, said) = page.example(SimpleNamespace(key=0), ANN)
    key = said[page.kept]['opened']
    click = SimpleNamespace(start=(20, 30), end=(20, 30), drag=False, background=False)
    nothing = SimpleNamespace(record=None, sync=False)
    page.gesture('Object', '', click, ANN)
    early = page.add('plum', ANN)  # before the browser has said what it has
    assert page.kept not in early
    first = page.restore('', nothing, ANN)[page.kept]
    assert page.kept not in page.gesture('Object', '', click, ANN)
    second = page.add('cat', ANN)[page.kept]
    assert first['key'] == second['key'] == key and first['order'] < second['order']
    names = [[thing['name'] for thing in json.loads(note['record'])['objects']]
             for note in (first, second)]  # fmt: skip
    assert names == [['plum'], ['plum', 'cat']]
    assert page.remove_all('', ANN)[page.kept]['record'] is None

    list(page.example(SimpleNamespace(key=0), ANN))
    wrong = SimpleNamespace(record=second['record'][:-9], sync=False)
    said = page.restore('', wrong, ANN)
    assert 'kept of this picture is damaged' in said[page.status] and page.kept not in said
    said = page.restore('', SimpleNamespace(record=second['record'], sync=False), ANN)
    assert '2 objects of this picture came back' in said[page.status]
    said = page.restore('', SimpleNamespace(record=first['record'], sync=True), ANN)
    assert 'value="plum"' in said[page.objects] and 'value="cat"' not in said[page.objects]
    assert page.kept not in said


def test_projects_are_saved_and_opened(page):
    (_, said) = page.example(SimpleNamespace(key=0), ANN)
    page.restore('', SimpleNamespace(record=None, sync=False), ANN)
    click = SimpleNamespace(start=(20, 30), end=(20, 30), drag=False, background=False)
    page.gesture('Object', '', click, ANN)
    record = page.add('Käse', ANN)[page.kept]['record']
    assert 'No objects are kept' in page.save_project(SimpleNamespace(records=[]))[page.status]
    said = page.save_project(SimpleNamespace(records=['{', record]))
    assert 'Those of 1 picture are damaged' in said[page.status]
    name, address = said[page.file]
    text = base64.b64decode(address.partition(',')[2]).decode()
    said = page.open_project(SimpleNamespace(name=name, text=text))
    assert list(said[page.kept]['project'].values()) == [record]
    for wrong, message in ((text[:-5], 'cut off'), (text + ' ' * 2000, 'larger than 2,000')):
        said = page.open_project(SimpleNamespace(name=name, text=wrong))
        assert message in said[page.status] and 'error' in said[page.status]
        assert page.kept not in said


def test_who_closes_the_page_makes_room_first(client, monkeypatch):
    left = threading.Event()
    monkeypatch.setattr(SessionStore, 'leave', lambda self, key: key == 'bea' and left.set())
    with client.stream('GET', 'gradio_api/heartbeat/bea', timeout=None) as stream:
        next(stream.iter_raw())
    assert left.wait(120)


def test_limits_that_let_nothing_in_and_addresses_of_others_are_refused(
    client, predictor, name_encoder
):
    for wrong in (dict(max_file_size=0), dict(max_pixels=-1)):
        with pytest.raises(ValueError, match='must be at least 1'):
            Limits(**wrong)
    port = client.base_url.port
    for host in ('127.0.0.1', '203.0.113.7', 'no.such.host.invalid'):
        with (
            pytest.raises(OSError, match=rf'{host}, port {port}: .*Choose another'),
            serving(predictor, name_encoder, host=host, port=port),
        ):
            pass


def test_a_password_lets_in_who_knows_it(predictor, name_encoder):
    with (
        serving(predictor, name_encoder, LIMITS, password='pässword') as url,
        httpx.Client(base_url=url) as client,
    ):
        for path in ('config', 'gradio_api/info'):
            assert client.get(path).status_code == 401
        assert upload(client, b'x').status_code == 401
        for wrong in ('', 'pässwor', 'pässword ', 'ключ'):
            said = client.post('login', data=dict(username='ann', password=wrong))
            assert said.status_code >= 400 and client.get('config').status_code == 401
        said = client.post('login', data=dict(username='ann', password='pässword'))
        assert said.status_code == 200 and client.get('config').status_code == 200
    with (
        pytest.raises(ValueError, match='password is empty'),
        serving(predictor, name_encoder, password=''),
    ):
        pass

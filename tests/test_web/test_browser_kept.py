"""What a browser keeps of the page: objects outlive the tab, the server and a full storage."""

import json
from urllib.parse import urlsplit

import pytest
from browsing import PATIENCE, SCENE, User

playwright = pytest.importorskip(
    'playwright.sync_api', reason="no Playwright: pip install 'mmovsam[test]'"
)
pytest.importorskip('gradio', reason="no Gradio: pip install 'mmovsam[test]'")

from mmovsam.web.serving import serving  # noqa: E402

expect = playwright.expect


@pytest.fixture
def serve(shared, scenes):
    examples = {f'scene_{number}: drawn': scene.image for number, scene in enumerate(scenes, 1)}
    return lambda port=None: serving(*shared, port=port, examples=examples)


@pytest.fixture
def user(browser):
    context = browser.new_context(viewport=dict(width=1360, height=860))
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.dialogs = []
    page.on('dialog', lambda dialog: page.dialogs.append(dialog.type) or dialog.accept())
    yield User(page)
    context.close()


def come(user, url):
    user.page.goto(url)
    user.page.wait_for_selector('.examples button')


def add(user, known, number):
    user.click(*known[number][:2])
    user.press('Add')
    user.wait_objects(number + 1)
    user.wait_status('Added')


def test_objects_outlive_tab_picture_and_server_and_travel_in_a_project(
    user, serve, known, tmp_path
):
    note = user.page.locator('#kept p')
    with serve() as url:
        come(user, url)
        user.open_scene(SCENE)
        add(user, known, 0)
        expect(note).to_contain_text('Objects of 1 picture')
        come(user, url)
        expect(note).to_contain_text('Objects of 1 picture')
        assert not user.objects
        user.open_scene(SCENE)
        user.wait_objects(1)
        user.wait_status('1 object of this picture came back')
        add(user, known, 1)
        before = user.save('Save COCO JSON', tmp_path).read_text()
        user.open_scene(0)
        user.wait_objects(0)
        user.open_scene(SCENE)
        user.wait_objects(2)
    with serve(urlsplit(url).port) as url:
        come(user, url)
        user.open_scene(SCENE)
        user.wait_objects(2)
        assert user.save('Save COCO JSON', tmp_path).read_text() == before
        assert len(json.loads(before)['annotations']) == 2

        project = user.save('Save project', tmp_path)
        user.press('Forget all')
        user.wait_objects(0)
        assert user.page.dialogs == ['confirm']
        damaged = tmp_path / 'damaged.json'
        damaged.write_text(project.read_text()[:-20])
        choose(user, damaged)
        user.wait_status('damaged.json was not opened')
        assert not note.inner_text() and not user.objects
        user.open_scene(0)
        choose(user, project)  # of a picture that is not the open one
        expect(note).to_contain_text('Objects of 1 picture')
        assert not user.objects
        user.open_scene(SCENE)
        user.wait_objects(2)
        assert user.save('Save COCO JSON', tmp_path).read_text() == before


def choose(user, project):
    with user.page.expect_file_chooser() as chooser:
        user.press('Open project')
    chooser.value.set_files(project)


def test_a_full_storage_is_told_and_nothing_is_lost_without_a_question(
    user, serve, known, tmp_path
):
    with serve() as url:
        come(user, url)
        user.page.evaluate("""() => {
            for (let size = 2 ** 23, number = 0; size >= 1; number++) {
                try { localStorage.setItem(number, 'x'.repeat(size)); } catch { size /= 2; }
            }
        }""")
        user.open_scene(SCENE)
        add(user, known, 0)
        expect(user.page.locator('#kept .error')).to_contain_text('storage is full')
        user.open_scene(0)
        user.wait_objects(0)
        user.open_scene(SCENE)
        user.wait_objects(1)
        project = user.save('Save project', tmp_path)
        assert len(json.loads(project.read_text())['pictures'][0]['objects']) == 1
        come(user, url)
        assert user.page.dialogs == ['beforeunload']

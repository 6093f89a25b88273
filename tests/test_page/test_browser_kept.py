"""What a browser keeps of the page: objects outlive the tab, the server and a full storage."""

import json
from urllib.parse import urlsplit

import pytest
from browsing import SCENE, User, serving
from PIL import Image

expect = pytest.importorskip(
    'playwright.sync_api', reason="no Playwright: pip install 'mmovsam[test]'"
).expect


@pytest.fixture
def context(browser):
    context = browser.new_context(viewport=dict(width=1360, height=860))
    yield context
    context.close()


def add(user, known, number):
    user.click(*known[number][:2])
    user.press('Add')
    user.wait_objects(number + 1)


def answer(user, button='OK'):
    """Answer the question that the page asks."""
    user.page.locator('#ask').get_by_role('button', name=button).click()


def open_project(user, path):
    user.choose_files(path, lambda: user.press('Open project'))


def test_a_folder_is_labeled_with_the_keyboard_alone(new_user, scenes, tmp_path):
    folder = tmp_path / 'pictures'
    (folder / 'more').mkdir(parents=True)
    names = ['1.png', '2.png', '10.png', 'more/1.png', 'more/11.png']
    for number, name in enumerate(names):
        Image.fromarray(scenes[number % 4].image[:, :: 1 if number < 4 else -1]).save(folder / name)
    (folder / 'notes.txt').write_text('no picture')

    def open_folder(user):
        user.choose_files(folder, lambda: user.key('Shift+O'))
        user.wait_opened()

    def label(user):
        user.key('Shift+ArrowRight', times=3)
        user.key('Alt+ArrowUp', times=2)
        user.key(' ')
        user.wait_status('Refine it')
        user.key('2')
        user.key('Enter')
        user.wait_objects(1)
        user.key('a')
        user.wait_status('came to the list')
        user.key('ArrowDown')
        user.key('t')
        user.page.keyboard.type('mine')
        user.key('Escape')

    user = new_user()
    open_folder(user)
    assert user.page.locator('#pictures span').all_inner_texts() == names
    for name in names[:2]:
        user.wait_described(f'^{name}')
        label(user)
        user.key('ArrowRight')
        user.wait_opened()
    user.reload()
    expect(user.page.locator('#kept')).to_contain_text('Objects of 2 pictures')
    open_folder(user)
    for name in names[2:]:  # it goes on with the first picture that has no objects
        user.wait_described(f'^{name}')
        label(user)
        user.key('ArrowRight')
        if name != names[-1]:
            user.wait_opened()
    coco = user.save(lambda: user.key('s'), tmp_path).read_text()
    assert [image['file_name'] for image in json.loads(coco)['images']] == names
    project = user.save(lambda: user.key('p'), tmp_path)

    other = new_user()
    open_folder(other)
    other.choose_files(project, lambda: other.key('Shift+P'))
    other.wait_status('has objects of 5 pictures')
    assert other.save(lambda: other.key('s'), tmp_path).read_text() == coco
    Image.new('RGB', (64, 48)).save(folder / '1.png')  # another picture of the name
    other.reload()
    open_folder(other)
    found = json.loads(other.save(lambda: other.key('s'), tmp_path).read_text())
    assert [image['file_name'] for image in found['images']] == names[1:]


def test_objects_outlive_tab_picture_and_server(context, shared, examples, known, tmp_path):
    with serving(shared, examples=examples) as url:
        user = User(context.new_page(), url)
        kept = user.page.locator('#kept')
        user.open_scene(SCENE)
        add(user, known, 0)
        expect(kept).to_contain_text('Objects of 1 picture')
        user.come(url)
        expect(kept).to_contain_text('Objects of 1 picture')
        assert not user.objects
        user.open_scene(SCENE)
        user.wait_status('1 object of this picture came back')
        add(user, known, 1)
        before = user.save('Save COCO JSON', tmp_path).read_text()
        user.open_scene(0)
        user.wait_objects(0)
    with serving(shared, examples=examples, port=urlsplit(url).port):
        user.open_scene(SCENE)  # the tab is still open, its session forgotten
        user.wait_objects(2)
        user.click(*known[0][:2])
        assert user.save('Save COCO JSON', tmp_path).read_text() == before
        second = User(context.new_page(), url)
        second.open_scene(SCENE)
        second.wait_objects(2)
        second.page.locator('#objects li').first.get_by_role('button', name='Remove').click()
        user.wait_objects(1)


def test_a_project_is_checked_before_anything_of_it_is_used(user, known, tmp_path):
    add(user, known, 0)
    add(user, known, 1)
    before = user.objects
    project = user.save('Save project', tmp_path)
    content = json.loads(project.read_text())
    damaged = tmp_path / 'damaged.json'
    for change, message in [
        (lambda content: content.update(format='other'), 'not saved by'),
        (lambda content: content.update(version=2), 'its version is 2'),
        (lambda content: content['pictures'].append(None), 'picture 2'),
        (lambda content: content['pictures'].append(content['pictures'][0]), 'there twice'),
        (lambda content: content['pictures'][0].update(key='f'), 'no SHA-256'),
        (lambda content: content['pictures'][0].update(width=9), 'no mask of 9x'),
        (lambda content: content['pictures'][0]['objects'][0].update(counts='abc'), 'object 1'),
        (lambda content: content['pictures'][0]['objects'][0].update(name=' '), 'a name is'),
        (lambda content: content['pictures'][0]['objects'][0].update(top_k=[{}]), 'top_k'),
    ]:
        wrong = json.loads(project.read_text())
        change(wrong)
        damaged.write_text(json.dumps(wrong))
        open_project(user, damaged)
        user.page.wait_for_selector(f'#status.error:has-text("{message}")')
        assert user.objects == before
    damaged.write_text(project.read_text()[:-20])
    open_project(user, damaged)
    user.wait_status('cut off or no JSON')

    user.press('Forget all')
    answer(user, 'Cancel')
    user.wait_objects(2)
    user.press('Forget all')
    answer(user)
    user.wait_objects(0)
    user.open_scene(0)
    open_project(user, project)  # of a picture that is not the open one
    user.wait_status('has objects of 1 picture')
    user.open_scene(SCENE)
    user.wait_objects(2)
    user.page.locator('#objects li').first.get_by_role('button', name='Remove').click()
    user.wait_objects(1)
    open_project(user, project)
    answer(user, 'Cancel')
    assert len(user.objects) == 1
    open_project(user, project)
    answer(user)
    user.wait_objects(2)
    saved = json.loads(user.save('Save project', tmp_path).read_text())
    assert saved == content


def test_a_full_storage_is_told_and_nothing_is_lost_without_a_question(user, known, tmp_path):
    user.page.evaluate(
        """() => {
            IDBObjectStore.prototype.put = () => { throw new Error('QuotaExceededError'); };
        }"""
    )
    add(user, known, 0)
    expect(user.page.locator('#kept.error')).to_contain_text('storage is full')
    user.open_scene(0)
    user.wait_objects(0)
    user.open_scene(SCENE)
    user.wait_objects(1)
    project = user.save('Save project', tmp_path)
    assert len(json.loads(project.read_text())['pictures'][0]['objects']) == 1
    user.page.reload()
    assert user.dialogs == ['beforeunload']


def test_a_password_is_asked_for(context, shared, examples):
    with serving(shared, examples=examples, password='plum') as url:
        user = User(context.new_page(), url)
        user.page.locator('#examples button').first.click()
        for given, question in (('fig', 'Password of'), ('plum', 'That is not it')):
            user.page.wait_for_selector(f'#question:has-text("{question}")')
            user.page.locator('#reply').fill(given)
            answer(user)
        user.wait_opened()

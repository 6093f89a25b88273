"""People who are faster than the model, and files and folders that nobody expects."""

import json

import numpy as np
import pytest
from browsing import SCENE
from PIL import Image

expect = pytest.importorskip(
    'playwright.sync_api', reason="no Playwright: pip install 'mmovsam[test]'"
).expect


def click_at_once(user, *place):
    user.page.mouse.click(*user.on_screen(*place[:2]))


@pytest.fixture
def folder(scenes, tmp_path):
    """40 pictures: the scene, then small ones."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    Image.fromarray(scenes[SCENE].image).save(folder / '0.png')
    for number in range(1, 40):
        Image.new('RGB', (64, 48), (6 * number, 90, 120)).save(folder / f'{number}.png')
    return folder


@pytest.fixture
def labeler(user, folder):
    user.choose_files(folder, lambda: user.key('Shift+O'))
    user.wait_described('^0.png')
    user.wait_opened()
    return user


def test_a_long_list_of_pictures_stays_where_it_was_scrolled(labeler, known):
    rows, place = labeler.page.locator('#pictures'), 'list => list.scrollTop'
    assert rows.evaluate('list => (list.scrollTop = 300, list.scrollTop)') == 300
    rows.locator('li').nth(20).evaluate('row => { row.isTheSame = true }')
    labeler.click(*known[0][:2])
    labeler.key('Enter')
    expect(rows.locator('b').first).to_have_text('1')
    assert rows.evaluate(place) == 300
    assert rows.locator('li').nth(20).evaluate('row => row.isTheSame')
    labeler.key('ArrowRight')
    labeler.wait_described('^1.png')
    assert rows.evaluate(place) < 50


def test_objects_may_be_clicked_and_added_before_the_first_has_its_mask(user, known):
    user.page.evaluate(
        """async (place) => {
        const { stage } = await import('./page/state.js');
        stage.cursor = place;
        for (const key of [' ', 'Enter', ' ', 'Enter', ' ', 'Enter']) {
            document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        }
    }""",
        known[0][:2],
    )
    user.wait_described('0 points, 3 objects')


def test_a_file_dialog_waits_for_nothing(user, folder):
    user.page.evaluate("""import('./page/state.js').then(({ held }) => {
        held(() => new Promise(() => {}))();
    })""")
    for how in (lambda: user.key('o'), lambda: user.press('Open pictures')):
        user.choose_files(folder / '1.png', how)


def test_pictures_that_are_passed_by_are_not_sent(labeler):
    sent = []
    labeler.page.on('request', lambda request: sent.append(request.method == 'PUT'))
    labeler.page.evaluate("""async () => {
        const key = { key: 'ArrowRight', bubbles: true };
        for (let number = 1; number < 40; number++) {
            document.body.dispatchEvent(new KeyboardEvent('keydown', key));
            for (let turn = 0; turn < 20; turn++) await null; // no answer can come in between
        }
    }""")
    labeler.wait_described('^39.png')
    labeler.wait_opened()
    assert sum(sent) == 2


def test_what_is_done_after_enter_waits_for_it(labeler, known):
    for place in known[:2]:
        click_at_once(labeler, *place)
        labeler.key('2')
        labeler.key('Enter')
    labeler.key('ArrowRight')
    labeler.wait_described('^1.png')
    labeler.wait_opened()
    labeler.key('ArrowLeft')
    labeler.wait_objects(2)
    objects = labeler.page.evaluate(
        'import("./page/state.js").then(({ state }) => state.work.objects)'
    )
    assert [each['name'] for each in objects] == [each['top_k'][1]['name'] for each in objects]
    assert [each['top_k'][0]['name'] for each in objects] == [name for _, _, name in known[:2]]


def test_prompts_that_wait_are_cleared_or_asked_when_one_comes_back(labeler, known):
    for _ in range(3):
        click_at_once(labeler, *known[0])
    labeler.key('ArrowRight')
    labeler.wait_described('^1.png')
    labeler.wait_opened()
    labeler.key('ArrowLeft')
    labeler.wait_described('^0.png: 3 points, a mask of')
    labeler.page.locator('#status').evaluate('line => { line.textContent = "" }')
    for _ in range(3):
        click_at_once(labeler, *known[0])
    labeler.key('Escape')
    labeler.click(*known[1][:2])
    for key in 2 * ('ArrowRight', 'ArrowLeft'):
        labeler.key(key)
    labeler.wait_described('^0.png: 1 point, a mask of')


def test_what_is_typed_in_the_list_outlives_an_answer(user, known):
    user.click(*known[0][:2])
    user.press('Add')
    user.wait_objects(1)
    click_at_once(user, *known[1])
    field = user.page.locator('#objects input')
    field.fill('half a na')
    user.wait_described('1 point, a mask of')
    field.press_sequentially('me')
    field.press('Enter')
    expect(field).to_have_value('half a name')


def test_a_zoom_outlives_a_window_of_another_size(user):
    user.page.mouse.move(*user.on_screen(100, 100))
    user.page.mouse.wheel(0, -600)
    user.wait_until('document.querySelector("canvas").dataset.scale > 4')
    canvas = user.page.locator('canvas')
    before = canvas.evaluate('canvas => ({...canvas.dataset})')
    user.page.set_viewport_size(dict(width=1200, height=700))
    user.wait_until('document.querySelector("canvas").width < 850')
    assert canvas.evaluate('canvas => ({...canvas.dataset})') == before
    user.key('0')
    user.wait_until('document.querySelector("canvas").dataset.scale < 4')


def test_dropped_folders_are_opened_wherever_they_are_dropped(user, folder, tmp_path):
    (tmp_path / 'more' / 'below').mkdir(parents=True)
    Image.new('RGB', (64, 48)).save(tmp_path / 'more' / 'below' / '0.png')
    page = user.page
    devtools = page.context.new_cdp_session(page)
    for paths, names in [
        ([tmp_path / 'more'], ['below/0.png']),
        ([tmp_path / 'more', folder / '1.png'], ['1.png', 'more/below/0.png']),
    ]:
        data = dict(items=[], files=[str(path) for path in paths], dragOperationsMask=1)
        for kind in ('dragEnter', 'dragOver', 'drop'):
            event = dict(type=kind, x=1200, y=500, data=data)
            devtools.send('Input.dispatchDragEvent', event)
        expect(page.locator('#pictures span')).to_have_text(names)
        user.wait_opened()


@pytest.mark.parametrize('format', ['JPEG', 'WEBP', 'PNG', 'TIFF'])
def test_turned_pictures_are_shown_as_the_model_sees_them(user, format, tmp_path):
    image = np.full((60, 80, 3), 90, np.uint8)
    image[:20, :20] = 255, 0, 0
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down, so that the size does not tell
    path = tmp_path / f'turned.{format.lower()}'
    Image.fromarray(image).save(path, format, exif=exif, quality=95)
    user.choose_files(path, lambda: user.press('Open pictures'))
    user.wait_described('^turned')
    user.wait_opened()
    red = user.page.evaluate("""async () => {
        const { stage } = await import('./page/state.js');
        const context = new OffscreenCanvas(80, 60).getContext('2d');
        context.drawImage(stage.picture, 0, 0);
        return [[5, 5], [75, 55]].map(([x, y]) => context.getImageData(x, y, 1, 1).data[0] > 200);
    }""")
    assert red == [False, True]


def test_objects_of_another_size_than_the_picture_are_not_shown(user, known, tmp_path):
    user.click(*known[0][:2])
    user.press('Add')
    user.wait_objects(1)
    content = json.loads(user.save('Save project', tmp_path).read_text())
    content['pictures'][0].update(width=2, height=3)
    content['pictures'][0]['objects'][0].update(counts='06')
    project = tmp_path / 'other.json'
    project.write_text(json.dumps(content))
    user.choose_files(project, lambda: user.press('Open project'))
    user.page.locator('#ask').get_by_role('button', name='OK').click()
    user.wait_objects(0)
    user.click(*known[0][:2])
    user.press('Add')
    user.wait_objects(1)


def test_undo_does_not_go_back_over_what_another_tab_did(user, known):
    user.click(*known[0][:2])
    user.press('Add')
    user.wait_objects(1)
    other = type(user)(user.page.context.new_page(), user.page.url)
    other.open_scene(SCENE)
    other.wait_objects(1)
    other.click(*known[1][:2])
    other.press('Add')
    user.wait_objects(2)
    user.key('z')
    user.wait_status('nothing to undo')
    other.key('z')
    user.wait_objects(1)


def test_names_are_in_force_in_a_picture_that_is_opened_at_once(user, known):
    user.page.locator('#vocabulary').fill('a thing')
    note = user.page.locator('#vocabulary-note')
    expect(note).to_have_text('1 name in force.')
    user.page.reload()
    user.page.locator('#examples button').nth(SCENE).click()
    user.wait_opened()
    user.click(*known[0][:2])
    expect(user.names).to_have_text(['a thing'])

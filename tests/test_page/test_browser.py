"""The page in a real browser, with the small model that the package ships.

Skipped where Playwright or a Chromium is missing; the reason says how to get it.
"""

import json
import re

import numpy as np
import pytest
from browsing import SCENE, User, answer_to, serving
from mini_world import CATEGORIES
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmovsam.apis import loading

expect = pytest.importorskip(
    'playwright.sync_api', reason="no Playwright: pip install 'mmovsam[test]'"
).expect

EVIL = '<b id=evil onclick=alert(1)>&amp;${1}{{2}}`'


def test_clicks_give_the_mask_the_name_and_five_names_with_scores(user, known):
    x, y, name = known[0]
    user.click(x, y)
    expect(user.best).to_have_text(name)
    expect(user.names).to_have_count(5)
    expect(user.names.first).to_have_text(name)
    expect(user.name).to_have_value(name)
    scores = user.page.locator('#names b').all_inner_texts()
    assert len(scores) == 5 and all(re.fullmatch(r'<?\d+%', score) for score in scores)
    user.wait_described('1 point, a mask of')
    user.click(*known[1][:2], button='right')
    user.choose('Not the object')
    user.click(5, 5)
    user.choose('Object')
    user.wait_described('3 points')
    user.press('Undo')
    user.wait_described('2 points, a mask of')
    user.press('Clear')
    user.wait_described('0 points, 0 objects')
    expect(user.names).to_have_count(0)
    for step in range(5):  # fast ones are all taken
        user.page.mouse.click(*user.on_screen(50 + 40 * step, 100))
    user.wait_described('5 points, a mask of')


def test_masks_are_those_of_the_model(user, shared, scene, known, tmp_path):
    x, y, _ = known[0]
    rows, columns = np.nonzero(scene.masks[0])
    box = [int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
    user.click(x, y)
    user.press('Add')
    user.wait_objects(1)
    user.drag(*box)
    user.wait_status('Refine it')
    user.press('Add')
    user.wait_objects(2)
    coco = json.loads(user.save('Save COCO JSON', tmp_path).read_text())
    prompts = (dict(point_coords=[[x, y]], point_labels=[1]), dict(box=box))
    for prompt, annotation in zip(prompts, coco['annotations']):
        expected = answer_to(shared, scene.image, **prompt)
        mask = coco_mask.encode(np.asfortranarray(expected.masks[0], np.uint8))
        # the screen's pixels are not the picture's
        assert coco_mask.iou([annotation['segmentation']], [mask], [0]) > 0.9
        assert annotation['top_k'][0]['name'] == expected.names[0][0]


def test_a_click_that_may_mean_several_things_has_masks_to_choose_from(browser, examples):
    with serving(loading.load('photo/ovsam_photo.py', cache_size=0), examples=examples) as url:
        page = browser.new_page()
        user = User(page, url)
        user.open_scene(SCENE)
        user.click(100, 100)
        masks = page.locator('#masks button')
        expect(masks).to_have_count(3)
        chosen = masks.evaluate_all('all => all.map((each) => each.ariaPressed)').index('true')
        user.key('m')
        expect(masks.nth((chosen + 1) % 3)).to_have_attribute('aria-pressed', 'true')
        user.key('z')
        expect(masks.nth(chosen)).to_have_attribute('aria-pressed', 'true')
        user.click(120, 100)  # refines the chosen one
        expect(masks).to_have_count(1)
        page.close()


def test_a_typed_name_stays_when_the_mask_is_refined(user, known):
    user.name.fill('my own name')
    user.click(*known[0][:2])
    expect(user.best).to_have_text(known[0][2])
    expect(user.name).to_have_value('my own name')
    user.page.locator('#names button').nth(1).click()
    expect(user.name).to_have_value(user.names.nth(1).inner_text())
    user.name.fill('')
    user.click(*known[0][:2])
    expect(user.name).to_have_value(user.best.inner_text())
    user.press('Add')
    user.wait_status('Added: ')
    expect(user.name).to_have_value('')


def test_two_corners_draw_a_box(user):
    user.choose('Box corners')
    user.page.mouse.click(*user.on_screen(200, 150))
    user.wait_described('a corner')
    user.click(90, 60)
    user.wait_described('0 points, a box, a mask of')


def test_names_are_typed_or_chosen_and_the_picture_stays_encoded(user, shared, known, monkeypatch):
    user.click(*known[0][:2])
    mask = user.wait_described('a mask of')
    monkeypatch.setattr(shared[0].model, 'extract_feat', None)
    field, note = user.page.locator('#vocabulary'), user.page.locator('#vocabulary-note')
    assert field.input_value().split('\n') == [category.name for category in CATEGORIES]
    field.fill(f'a teapot\n{known[0][2]}\n{EVIL}')
    expect(note).to_have_text('3 names in force.')
    expect(user.names).to_have_count(3)
    expect(user.names.first).to_have_text(known[0][2])
    assert set(user.names.all_inner_texts()) == {known[0][2], 'a teapot', EVIL}
    assert user.wait_described('a mask of') == mask
    field.fill('one\n,')
    expect(note).to_contain_text('is empty; give every class a name')
    field.fill('')
    expect(note).to_contain_text('those of the model')
    expect(user.names).to_have_count(5)
    user.press('Two')
    expect(note).to_have_text('2 names in force.')
    expect(user.names).to_have_count(2)
    user.reload()
    expect(note).to_have_text('2 names in force.')
    user.press('All')
    expect(note).to_have_text(f'{len(CATEGORIES)} names in force.')


def test_objects_are_listed_renamed_edited_removed_and_saved(user, scene, known, tmp_path):
    for number, (x, y, _) in enumerate(known[:2], 1):
        user.click(x, y)
        user.press('Add')
        user.wait_objects(number)
    assert user.objects == [name for _, _, name in known[:2]]
    field = user.page.locator('#objects input').nth(1)
    field.fill(EVIL)
    field.press('Enter')
    user.page.locator('h1').click()
    field.fill(' ')
    field.blur()
    expect(field).to_have_value(EVIL)
    field.fill('a slip')
    field.press('Escape')
    expect(field).to_have_value(EVIL)
    assert user.page.locator('#evil').count() == 0

    path = user.save('Save COCO JSON', tmp_path)
    assert path.name == f'scene_{SCENE + 1}.json'
    coco = COCO(str(path))
    height, width = scene.image.shape[:2]
    (image,) = coco.dataset['images']
    assert (image['width'], image['height']) == (width, height)
    annotations = coco.loadAnns(coco.getAnnIds())
    names = [coco.cats[each['category_id']]['name'] for each in annotations]
    assert names == [known[0][2], EVIL]
    for annotation in annotations:
        mask = coco.annToMask(annotation)
        assert annotation['area'] == mask.sum()
        assert annotation['bbox'] == coco_mask.toBbox(coco.annToRLE(annotation)).tolist()

    with Image.open(user.save('Save picture', tmp_path)) as picture:
        assert picture.size == (width, height)
    row = user.page.locator('#objects li').first
    row.get_by_role('button', name='Show or hide').click()
    expect(row).to_have_class('off')
    before = user.save('Save COCO JSON', tmp_path).read_text()
    for change in ('Clear', 'Add'):
        row.get_by_role('button', name='Edit').click()
        expect(user.name).to_have_value(known[0][2])
        user.drag(known[1][0] - 30, known[1][1] - 30, known[1][0] + 30, known[1][1] + 30)
        user.wait_status('Refine it')
        user.press(change)
        user.wait_described('0 points, 2 objects')
        saved = user.save('Save COCO JSON', tmp_path).read_text()
        assert (saved == before) == (change == 'Clear')
    assert user.objects == [known[0][2], EVIL]
    user.page.locator('#objects li').first.get_by_role('button', name='Remove').click()
    user.wait_objects(1)
    user.press('Undo')
    user.wait_objects(2)
    user.press('Everything')
    user.wait_status('came to the list')
    assert len(user.objects) > 2
    user.press('Undo')
    user.wait_objects(2)


def test_a_brush_paints_an_eraser_erases_and_the_model_refines(user, known):
    x, y, name = known[0]
    user.choose('Brush')
    user.drag(x - 6, y, x + 6, y)
    painted = pixels(user.wait_described('a mask of'))
    expect(user.names).to_have_count(5)
    user.choose('Eraser')
    user.drag(x - 6, y, x - 5, y)
    user.wait_until('n => !document.body.innerText.includes(n)', f'{painted:,} pi')
    erased = pixels(user.wait_described('a mask of'))
    assert 0 < erased < painted
    user.key('g')
    user.wait_status('Refine it')
    user.wait_described('1 point, a mask of')
    user.key('z')
    assert pixels(user.wait_described('0 points, a mask of')) == erased
    user.key('Enter')
    user.wait_objects(1)


def pixels(described):
    return int(re.search(r'a mask of ([\d,]+) pixel', described)[1].replace(',', ''))


def test_objects_of_a_typed_name_come_to_the_list(user, scene):
    names = [CATEGORIES[number - 1].name for number in scene.category_ids]
    user.key('f')
    user.page.keyboard.type(', '.join(names))
    user.key('Enter')
    user.wait_status('came to the list, of')
    assert len(user.objects) > 1 and set(user.objects) <= set(names)
    user.key('z')
    user.wait_objects(0)
    user.key('f')
    user.page.locator('#wanted').fill(' , ')
    user.key('Enter')
    user.wait_status('Type a name')


def test_users_do_not_see_each_others_pictures(user, new_user, known):
    user.click(*known[0][:2])
    user.press('Add')
    user.wait_objects(1)
    other = new_user()
    other.wait_described('No picture')
    assert not other.objects
    other.open_scene(0)
    other.click(30, 30)
    user.click(*known[1][:2])
    expect(user.best).to_have_text(known[1][2])
    assert len(user.objects) == 1 and not other.objects


def test_pictures_are_opened_and_bad_ones_refused(user, scene, tmp_path):
    def open_file(path, status):
        user.choose_files(path, lambda: user.press('Open pictures'))
        user.wait_status(status)

    path = tmp_path / 'bad.png'
    for name in ('mirrored.png', 'mirrored.tif'):  # no browser shows the latter
        Image.fromarray(scene.image[:, ::-1]).save(tmp_path / name)
        open_file(tmp_path / name, 'Encoded in')
        assert user.wait_described(name)
    path.write_bytes(b'no picture')
    open_file(path, 'truncated or no image')
    path.write_bytes(np.random.default_rng(0).bytes(400_001))
    open_file(path, 'MB at most')
    user.wait_described('No picture')
    path = tmp_path / 'notes.txt'
    path.write_text('no picture')
    open_file(path, 'There is no picture among them')


@pytest.mark.parametrize('width, height', [(720, 500), (900, 600), (2560, 1440)])
def test_a_window_shows_the_picture_and_the_status_whole(user, width, height):
    user.page.set_viewport_size(dict(width=width, height=height))
    assert user.page.evaluate('document.documentElement.scrollHeight') <= height
    for part in ('#stage canvas', '#status', '#examples'):
        box = user.page.locator(part).bounding_box()
        assert box['y'] > 0 and box['y'] + box['height'] <= height
    assert user.page.locator('#stage canvas').bounding_box()['height'] >= 200


def test_zoom_and_pan_leave_clicks_where_they_are(user, known):
    x, y, name = known[0]
    at = [round(value) for value in user.on_screen(x, y)]
    before = user.on_picture(*at)
    user.page.mouse.move(*at)
    user.page.mouse.wheel(0, -800)
    user.wait_until('document.querySelector("canvas").dataset.scale > 4')
    assert user.on_picture(*at) == pytest.approx(before, abs=0.01)
    user.page.mouse.down(button='middle')
    user.page.mouse.move(at[0] + 60, at[1] + 40)
    user.page.mouse.up(button='middle')
    assert user.on_picture(at[0] + 60, at[1] + 40) == pytest.approx(before, abs=0.01)
    user.click(x, y)
    expect(user.best).to_have_text(name)
    user.key('0')
    user.wait_described('1 point, a mask of')


def test_keys_stand_for_buttons_but_not_where_something_is_typed(user, known, tmp_path):
    x, y, name = known[0]
    user.click(x, y)
    user.key('Escape')
    user.wait_described('0 points, 0 objects')
    user.click(x, y)
    user.key('2')
    expect(user.name).to_have_value(user.names.nth(1).inner_text())
    user.key('Enter')
    user.wait_objects(1)
    assert user.save(lambda: user.key('s'), tmp_path).name.endswith('.json')
    user.name.press_sequentially('zsh')
    expect(user.name).to_have_value('zsh')
    user.key('Escape')
    user.key('ArrowDown')
    user.key('Delete')
    user.wait_objects(0)
    user.key('z', times=2)
    user.wait_described('1 point, a mask of')
    user.page.locator('#tools input').first.focus()
    user.key('ArrowRight')
    expect(user.page.locator('#tools input').nth(1)).to_be_checked()
    user.key('h')
    expect(user.page.locator('#keys')).to_be_visible()
    user.press('Close')


def test_two_fingers_zoom_and_one_clicks(new_user, known):
    user = new_user(has_touch=True)
    user.open_scene(SCENE)
    before = float(user.page.locator('canvas').get_attribute('data-scale'))
    x, y = user.on_screen(*known[0][:2])
    touch = user.page.context.new_cdp_session(user.page)
    for step, kind in enumerate(['touchStart', 'touchMove', 'touchMove', 'touchEnd']):
        places = [dict(x=x - 40 - 30 * step, y=y, id=0), dict(x=x + 40 + 30 * step, y=y, id=1)]
        touch.send('Input.dispatchTouchEvent', dict(
            type=kind, touchPoints=[] if kind == 'touchEnd' else places
        ))  # fmt: skip
    user.wait_until(f'document.querySelector("canvas").dataset.scale > {1.5 * before}')
    user.page.touchscreen.tap(*user.on_screen(*known[0][:2]))
    user.wait_described('1 point, a mask of')

"""The page in a real browser, with the small model that the package ships.

Skipped where Playwright, Gradio or a Chromium is missing; the reason says how to get it.
"""

import json
import re

import numpy as np
import pytest
from browsing import PATIENCE, SCENE, User, answer_to
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmovsam.datasets.mini_world import CATEGORIES

playwright = pytest.importorskip(
    'playwright.sync_api', reason="no Playwright: pip install 'mmovsam[test]'"
)
pytest.importorskip('gradio', reason="no Gradio: pip install 'mmovsam[test]'")

from mmovsam.web.serving import Limits, serving  # noqa: E402

EVIL = '<b id=evil onclick=alert(1)>&amp;${1}{{2}}`'
expect = playwright.expect
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope='module')
def url(browser, shared, scenes):
    limits = Limits(max_file_size=200_000, max_pixels=500_000)
    examples = {f'scene_{number}: drawn': scene.image for number, scene in enumerate(scenes, 1)}
    with serving(*shared, limits, examples=examples) as url:
        yield url


@pytest.fixture(scope='module')
def new_user(browser, url):
    """Opens the page as somebody who was not here before; no script of it may fail."""
    requests = []

    def come():
        page = browser.new_context(viewport=dict(width=1360, height=860)).new_page()
        page.set_default_timeout(PATIENCE)
        page.on('request', lambda request: requests.append(request.url))
        page.on('pageerror', lambda error: requests.append(f'error: {error}'))
        page.goto(url)
        page.wait_for_selector('.examples button')
        return User(page)

    yield come
    own = ('data:', 'blob:', url)  # nothing is asked of other servers
    assert requests and not [each for each in requests if not each.startswith(own)]


@pytest.fixture
def user(new_user):
    """Somebody who has just opened the scene, and whose browser keeps no objects of it."""
    user = new_user()
    user.open_scene(SCENE)
    yield user
    user.page.context.close()


def test_clicks_give_the_mask_the_name_and_five_names_with_scores(user, known):
    x, y, name = known[0]
    user.click(x, y)
    expect(user.best).to_have_text(name)
    expect(user.names).to_have_count(5)
    expect(user.names.first).to_have_text(name)
    expect(user.name).to_have_value(name)
    scores = user.page.locator('ol.names b').all_inner_texts()
    assert len(scores) == 5 and all(re.fullmatch(r'<?\d+%', score) for score in scores)
    assert len(user.marks('path.mask').get_attribute('d')) > 20
    user.click(*known[1][:2], kind='no', button='right')
    user.choose('Not the object')
    user.click(5, 5, kind='no')
    user.choose('Object')
    user.press('Undo')
    user.marks('.dot.no:not(.core)').nth(1).wait_for(state='detached')
    user.press('Clear')
    user.marks('.dot').first.wait_for(state='detached')
    expect(user.marks('path.mask')).to_have_count(0)
    expect(user.names).to_have_count(0)
    for step in range(5):  # fast ones are all taken
        user.page.mouse.click(*user.on_screen(50 + 40 * step, 100))
    user.marks('.dot.yes:not(.core)').nth(4).wait_for(state='attached')


def test_a_typed_name_stays_when_the_mask_is_refined(user, known):
    user.name.fill('my own name')
    user.click(*known[0][:2])
    expect(user.best).to_have_text(known[0][2])
    expect(user.name).to_have_value('my own name')
    user.page.locator('ol.names button').nth(1).click()
    expect(user.name).to_have_value(user.names.nth(1).inner_text())
    user.name.fill('')
    user.click(*known[0][:2])
    expect(user.name).to_have_value(re.compile('.'))
    expect(user.best).to_have_text(user.name.input_value())
    user.press('Add')
    user.wait_status('Added: ')
    expect(user.name).to_have_value('')


def test_a_drag_and_two_corners_draw_the_same_box(user, shared, scene):
    rows, columns = np.nonzero(scene.masks[0])
    box = [int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
    expected = answer_to(shared, scene.image, box=box)
    user.drag(*box)
    expect(user.best).to_have_text(expected.names[0][0])
    drawn = [float(user.marks('rect.box').get_attribute(k)) for k in ('x', 'y', 'width', 'height')]
    # a pixel of the screen is less than one of the picture
    assert drawn == pytest.approx([*box[:2], box[2] - box[0], box[3] - box[1]], abs=1)
    user.press('Clear')
    user.marks('rect.box').wait_for(state='detached')
    user.choose('Box corners')
    user.click(box[2], box[3], kind='corner')
    user.page.mouse.click(*user.on_screen(*box[:2]))
    user.marks('rect.box').wait_for(state='attached')
    user.choose('Object')
    expect(user.best).to_have_text(expected.names[0][0])


def test_names_are_typed_or_chosen_and_the_picture_stays_encoded(user, shared, known, monkeypatch):
    user.click(*known[0][:2])
    mask = user.marks('path.mask').get_attribute('d')
    monkeypatch.setattr(shared[0].model, 'extract_feat', None)
    field = user.page.locator('#names textarea')
    assert field.input_value().split('\n') == [category.name for category in CATEGORIES]
    field.fill(f'a teapot\n{known[0][2]}\n{EVIL}')
    user.wait_status('3 names in force')
    expect(user.names).to_have_count(3)
    expect(user.names.first).to_have_text(known[0][2])
    assert set(user.names.all_inner_texts()) == {known[0][2], 'a teapot', EVIL}
    assert user.marks('path.mask').get_attribute('d') == mask
    field.fill('one\n,')
    user.wait_status('is empty; give every class a name')
    field.fill('')
    user.wait_status('those of the model')
    expect(user.names).to_have_count(5)
    user.press('Two')
    user.wait_status('2 names in force')
    expect(user.names).to_have_count(2)
    field.press('Control+End')
    field.press_sequentially('\na fork')
    user.wait_status('3 names in force')
    expect(user.names.get_by_text('a fork', exact=True)).to_have_count(1)
    user.press('All')
    user.wait_status(f'{len(CATEGORIES)} names in force')
    expect(user.best).to_have_text(known[0][2])


def test_objects_are_listed_renamed_removed_and_saved(user, shared, scene, known, tmp_path):
    for number, (x, y, _) in enumerate(known[:2], 1):
        user.click(x, y)
        user.press('Add')
        user.wait_objects(number)
    assert user.objects == [name for _, _, name in known[:2]]
    expect(user.marks('.tag')).to_have_text(user.objects)
    field = user.page.locator('ul.objects input').nth(1)
    field.fill(EVIL)
    field.press('Enter')
    user.marks(f'.tag:nth-of-type(2):text-is({json.dumps(EVIL)})').wait_for(state='attached')
    assert user.page.locator('#evil').count() == 0
    field.fill(' ')
    field.press('Enter')
    expect(field).to_have_value(EVIL)

    path = user.save('Save COCO JSON', tmp_path)
    assert path.name == f'scene_{SCENE + 1}.json'
    coco = COCO(str(path))
    height, width = scene.image.shape[:2]
    (image,) = coco.dataset['images']
    assert (image['width'], image['height']) == (width, height)
    annotations = coco.loadAnns(coco.getAnnIds())
    names = [coco.cats[each['category_id']]['name'] for each in annotations]
    assert names == [known[0][2], EVIL]
    for annotation, (x, y, _) in zip(annotations, known):
        expected = answer_to(shared, scene.image, point_coords=[[x, y]], point_labels=[1]).masks[0]
        expected = coco_mask.encode(np.asfortranarray(expected, np.uint8))
        # a click hits a pixel of the screen, not a point of the picture
        assert coco_mask.iou([coco.annToRLE(annotation)], [expected], [0]) > 0.9

    with Image.open(user.save('Save picture', tmp_path)) as picture:
        assert picture.width / picture.height == pytest.approx(width / height)
    user.page.locator('ul.objects button').first.click()
    user.wait_objects(1)
    user.press('Undo')
    user.wait_objects(2)
    user.press('Find everything')
    user.page.locator('ul.objects li').nth(3).wait_for()
    user.wait_status('objects came to the list')
    user.press('Undo')
    user.wait_objects(2)


def test_objects_of_a_typed_name_come_to_the_list(user, scenes):
    user.open_scene(SCENE)
    names = [CATEGORIES[number - 1].name for number in scenes[SCENE].category_ids]
    field = user.page.locator('#wanted').get_by_role('textbox')
    field.fill(', '.join(names))
    field.press('Enter')
    user.page.locator('ul.objects li').nth(2).wait_for()
    user.wait_status('found of')
    listed = user.page.locator('ul.objects input')
    found = [listed.nth(row).input_value() for row in range(listed.count())]
    assert set(found) <= set(names)
    user.press('Undo')
    user.wait_objects(0)


def test_users_do_not_see_each_others_pictures(user, new_user, known):
    user.click(*known[0][:2])
    user.press('Add')
    user.wait_objects(1)
    other = new_user()
    assert other.page.locator('#stage img').count() == 0 and not other.objects
    other.open_scene(0)
    shown = [each.page.locator('#stage img').get_attribute('src') for each in (user, other)]
    assert shown[0] != shown[1]
    other.click(30, 30)
    user.click(*known[1][:2])
    expect(user.best).to_have_text(known[1][2])
    assert len(user.objects) == 1 and not other.objects
    other.page.context.close()


def test_uploaded_pictures_are_opened_and_bad_ones_refused(user, scene, tmp_path):
    path = tmp_path / 'bad.png'
    Image.fromarray(scene.image[:, ::-1]).save(path)
    user.open_file(path, 'Encoded in')
    shown = user.page.locator('#stage img').get_attribute('alt')
    assert shown == f'The picture, {scene.image.shape[1]} by {scene.image.shape[0]} pixels'
    path.write_bytes(b'no picture')
    user.open_file(path, 'bad.png is truncated or no image')
    path.write_bytes(np.random.default_rng(0).bytes(200_001))
    with user.page.expect_file_chooser() as chooser:
        user.press('Open a picture')
    chooser.value.set_files(path)
    user.page.get_by_text(re.compile('exceed|too large|maximum', re.I)).first.wait_for()
    assert user.page.locator('#stage img').get_attribute('alt') == shown


def test_keys_stand_for_buttons_but_not_where_something_is_typed(user, known, tmp_path):
    x, y, name = known[0]
    user.click(x, y)
    user.page.keyboard.press('Escape')
    user.marks('.dot').first.wait_for(state='detached')
    user.click(x, y)
    user.page.keyboard.press('Enter')
    user.wait_objects(1)
    with user.page.expect_download() as download:
        user.page.keyboard.press('s')
    assert download.value.suggested_filename.endswith('.json')
    user.name.press_sequentially('zsh')
    expect(user.name).to_have_value('zsh')
    user.click(x, y)
    user.page.keyboard.press('z')
    user.marks('.dot').first.wait_for(state='detached')
    user.page.keyboard.press('z')
    user.wait_objects(0)
    keys = user.page.locator('#keys')
    assert not keys.is_visible()
    user.page.keyboard.press('h')
    expect(keys).to_be_visible()

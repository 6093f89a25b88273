"""A browser, and the small model that the package ships on scenes that it knows."""

import numpy as np
import pytest
from browsing import PATIENCE, SCENE, User, answer_to, chromium, serving
from mini_world import CATEGORIES, draw_scene
from mini_world.writer import scene_rng

from mmovsam.apis import loading
from mmovsam.server import Limits

SCENES_SEED = 20261123


@pytest.fixture(scope='module')
def browser():
    playwright = pytest.importorskip(
        'playwright.sync_api', reason="no Playwright: pip install 'mmovsam[test]'"
    )
    path = chromium()
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def shared():
    predictor, name_encoder = loading.load('mini/ovsam_mini_boxes.py', cache_size=0)
    own = name_encoder.vocabulary
    name_encoder.built = dict(All=own, Two=name_encoder.classifier(own.names[:2]))
    return predictor, name_encoder


@pytest.fixture(scope='module')
def scenes():
    return [
        draw_scene(scene_rng(SCENES_SEED, 'test', number), 'test') for number in range(SCENE + 1)
    ]


@pytest.fixture(scope='module')
def scene(scenes):
    return scenes[SCENE]


@pytest.fixture(scope='module')
def examples(scenes):
    return {f'scene_{number}: drawn': scene.image for number, scene in enumerate(scenes, 1)}


@pytest.fixture(scope='module')
def url(shared, examples):
    with serving(shared, Limits(max_file_size=400_000, max_pixels=500_000), examples) as url:
        yield url


@pytest.fixture(scope='module')
def new_user(browser, url):
    """Opens the page as somebody who was not here before; no script of it may fail."""
    requests, contexts = [], []

    def come(**settings):
        context = browser.new_context(viewport=dict(width=1360, height=860), **settings)
        contexts.append(context)
        page = context.new_page()
        page.on('request', lambda request: requests.append(request.url))
        page.on('pageerror', lambda error: requests.append(f'error: {error}'))
        return User(page, url)

    yield come
    for context in contexts:
        context.close()
    own = ('data:', 'blob:', url)  # nothing is asked of other servers
    assert requests and not [each for each in requests if not each.startswith(own)]


@pytest.fixture
def user(new_user):
    """Somebody who has just opened the scene, and whose browser keeps no objects of it."""
    user = new_user()
    user.open_scene(SCENE)
    return user


@pytest.fixture(scope='module')
def known(shared, scene):
    """Points of objects that the model knows, `(x, y, name)`."""
    found = []
    for category_id, mask in zip(scene.category_ids, scene.masks):
        rows, columns = np.nonzero(mask)
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        point = float(columns[middle]) + 0.5, float(rows[middle]) + 0.5
        outputs = answer_to(shared, scene.image, point_coords=[point], point_labels=[1])
        if outputs.names[0][0] == CATEGORIES[category_id - 1].name:
            found.append((*point, outputs.names[0][0]))
    assert len(found) >= 2, 'the small model knows too little of this scene: choose another'
    return found

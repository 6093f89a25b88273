"""A session on a small random model; a browser, and the small model that the package ships."""

import shutil

import numpy as np
import pytest
import tiny
from browsing import SCENE, answer_to
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmovsam.apis import OVSAMPredictor, loading
from mmovsam.datasets.mini_world import CATEGORIES, draw_scene
from mmovsam.datasets.mini_world.writer import scene_rng
from mmovsam.web import NameEncoder, Session

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
SCENES_SEED = 20261123


@pytest.fixture(scope='session')
def predictor():
    """Of a model that knows `tiny.NAMES`."""
    init_default_scope('mmdet')
    model = MODELS.build(tiny.OVSAM)
    model.set_vocabulary(tiny.vocabulary())
    return OVSAMPredictor(model)


@pytest.fixture(scope='session')
def name_encoder():
    return NameEncoder(tiny.vocabulary(), dict(model=tiny.CLIP))


@pytest.fixture
def session(predictor, name_encoder):
    return Session(predictor.fork(), name_encoder)


@pytest.fixture
def picture():
    """`(60, 80, 3)` uint8, RGB."""
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def browser():
    playwright = pytest.importorskip(
        'playwright.sync_api', reason="no Playwright: pip install 'mmovsam[test]'"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip('no Chromium: apt-get install chromium (Debian, Ubuntu), or install Chrome')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def shared():
    predictor, name_encoder = loading.load('mini/ovsam_mini_boxes.py')
    own = name_encoder.own
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
def known(shared, scene):
    """Points of objects that the model knows, `(x, y, name)`."""
    found = []
    for category_id, mask in zip(scene.category_ids, scene.masks):
        rows, columns = np.nonzero(mask)
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        point = float(columns[middle]) + 0.5, float(rows[middle]) + 0.5
        said = answer_to(shared, scene.image, point_coords=[point], point_labels=[1])
        if said.names[0][0] == CATEGORIES[category_id - 1].name:
            found.append((*point, said.names[0][0]))
    assert len(found) >= 2, 'the small model knows too little of this scene: choose another'
    return found

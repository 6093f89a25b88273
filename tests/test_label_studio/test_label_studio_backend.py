"""The backend with the shipped model, on scenes of the small world that training never saw."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from label_studio_requests import (
    decode_brush,
    label_config,
    point,
    prediction_request,
    rectangle,
)
from mini_world import CATEGORIES, Scene, draw_scene
from PIL import Image

from mmovsam.apis import OVSAMPredictor
from mmovsam.apis.auto_labeling.sources import find_source
from mmovsam.evaluation.open_vocab_metric import mask_iou
from mmovsam.label_studio import ImageSource, LabelStudioBackend

SEED = 11
OTHER_NAMES = ['plain red heart', 'dotted green star', 'checked blue digit three']


@dataclass
class Task:
    """A scene that lies among the local files."""

    scene: Scene
    address: str

    def __post_init__(self):
        self.names = [CATEGORIES[category - 1].name for category in self.scene.category_ids]
        self.config = label_config(sorted({*self.names, *OTHER_NAMES}))
        self.size = self.scene.image.shape[1], self.scene.image.shape[0]

    def click(self, index, positive=True):
        """A smart point where an object is thickest."""
        distance = cv2.distanceTransform(self.scene.masks[index].astype(np.uint8), cv2.DIST_L2, 5)
        y, x = np.unravel_index(distance.argmax(), distance.shape)
        return point(x + 0.5, y + 0.5, *self.size, positive)

    def around(self, index):
        """A smart rectangle around an object."""
        return rectangle(self.box(index), *self.size)

    def box(self, index):
        rows, columns = np.nonzero(self.scene.masks[index])
        return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]

    def decoded(self, region):
        return decode_brush(region['value']['rle'], self.scene.masks[0].shape)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('local_files')


@pytest.fixture(scope='module')
def tasks(folder):
    print(f'seed {SEED}')
    made = []
    for index in range(2):
        scene = draw_scene(np.random.default_rng([SEED, index]), 'test')
        Image.fromarray(scene.image).save(folder / f'{index}.png')
        made.append(Task(scene, f'/data/local-files/?d={index}.png'))
    return made


@pytest.fixture(scope='module')
def task(tasks):
    return tasks[0]


@pytest.fixture(scope='module')
def predictor():
    return OVSAMPredictor.from_config('mini/ovsam_mini_boxes.py')


@pytest.fixture
def backend(predictor, folder):
    return LabelStudioBackend(predictor, ImageSource(data_root=folder), 'ovsam_mini')


def annotate(backend, task, *regions, config=None):
    request = prediction_request(list(regions), task.address, config or task.config)
    answer = backend.predict(request)
    (prediction,) = answer['results']
    assert answer['model_version'] == prediction['model_version'] == 'ovsam_mini'
    return prediction['result']


@pytest.mark.parametrize('draw', [Task.click, Task.around])
def test_point_or_rectangle_gives_the_mask_and_the_name(backend, tasks, draw):
    ious, right = [], []
    for task in tasks:
        for index, (mask, name) in enumerate(zip(task.scene.masks, task.names)):
            (region,) = annotate(backend, task, draw(task, index))
            ious.append(mask_iou(task.decoded(region), mask.astype(bool)))
            right.append(region['value']['brushlabels'] == [name])
    print(np.mean(ious), np.mean(right), len(right))
    assert np.mean(ious) > 0.75 and np.mean(right) > 0.75


def test_regions_are_asked_as_the_predictor_is(backend, predictor, task):
    """Background points, and a rectangle with points; percent become pixels."""
    inside, outside = task.click(0), task.click(1, positive=False)
    direct = predictor.fork()
    direct.set_vocabulary(sorted({*task.names, *OTHER_NAMES}))
    direct.set_image(task.scene.image)
    points = [
        [region['value'][axis] / 100 * side for axis, side in zip('xy', task.size)]
        for region in (inside, outside)
    ]
    points = dict(point_coords=points, point_labels=[1, 0])
    for regions, prompt in [
        ([inside, outside], points),
        ([task.around(0), inside, outside], dict(points, box=task.box(0))),
    ]:
        (region,) = annotate(backend, task, *regions)
        expected = direct.predict(**prompt, multimask_output=False)
        assert mask_iou(task.decoded(region), expected.masks[0]) > 0.99
        assert region['value']['brushlabels'] == expected.names[0][:1]
        assert region['score'] == pytest.approx(float(expected.name_scores[0, 0]), abs=1e-3)


def test_label_set_of_the_project_is_the_vocabulary(backend, task):
    synonym = f'<Label value="something" alias="S" predicted_values="{task.names[0]}"/>'
    labels = label_config([synonym, *OTHER_NAMES])
    (region,) = annotate(backend, task, task.around(0), config=labels)
    assert region['value']['brushlabels'] == ['S']  # its synonym is what is there
    (region,) = annotate(backend, task, task.around(0), config=label_config(OTHER_NAMES))
    assert region['value']['brushlabels'][0] in OTHER_NAMES


def test_projects_and_people_at_once_encode_an_image_once(folder, task, monkeypatch):
    predictor = OVSAMPredictor.from_config('mini/ovsam_mini_boxes.py')  # which knows no image yet
    encoded, encode = [], predictor.model.extract_feat
    monkeypatch.setattr(
        predictor.model, 'extract_feat', lambda *args: encoded.append(1) or encode(*args)
    )
    backend = LabelStudioBackend(predictor, ImageSource(data_root=folder), 'ovsam_mini')
    sets = [label_config(OTHER_NAMES), label_config([*task.names[:1], *OTHER_NAMES[:1]])]
    names = []
    for labels in sets:
        (region,) = annotate(backend, task, task.around(0), config=labels)
        names.append(region['value']['brushlabels'])
    assert names[0] != names[1] == task.names[:1]
    with ThreadPoolExecutor(4) as people:
        found = people.map(
            lambda turn: annotate(backend, task, task.around(0), config=sets[turn % 2])[0], range(8)
        )
        for turn, region in enumerate(found):
            assert region['value']['brushlabels'] == names[turn % 2]
    assert len(encoded) == 1


def test_nothing_drawn_or_found_gives_nothing(backend, task, monkeypatch):
    assert annotate(backend, task) == []  # the last region was deleted
    assert annotate(backend, task, task.click(0, positive=False)) == []
    predict = OVSAMPredictor.predict_batch

    def nothing(*args, **kwargs):
        prediction = predict(*args, **kwargs)
        prediction.masks[:] = False
        return prediction

    monkeypatch.setattr(OVSAMPredictor, 'predict_batch', nothing)
    assert annotate(backend, task, task.around(0)) == []


# Whole tasks


def test_retrieved_predictions_are_what_find_finds_of_the_labels(backend, predictor, task):
    (prediction,) = backend.predict(prediction_request(None, task.address, task.config))['results']
    direct = predictor.fork()
    direct.set_vocabulary(sorted({*task.names, *OTHER_NAMES}))
    classifier = direct.classifier
    names = classifier.subset(range(classifier.num_classes), direct.vocabulary)
    expected = direct.find(names, task.scene.image, output_mode='mask')
    assert len(expected) >= 2
    for region, thing in zip(prediction['result'], expected, strict=True):
        assert np.array_equal(task.decoded(region), thing['segmentation'])
        assert region['value']['brushlabels'] == [thing['name']]
        assert region['score'] == pytest.approx(thing['score'], abs=1e-3)
    scores = [region['score'] for region in prediction['result']]
    assert prediction['score'] == pytest.approx(np.mean(scores))


def test_many_tasks_are_asked_for_one_by_one(backend, task):
    """Label Studio asks again, task by task, if it gets one answer to several."""
    batch = prediction_request(None, 'https://nowhere.example/x.png', task.config)
    batch['tasks'] *= 3
    assert backend.predict(batch)['results'] == [[]]


@pytest.mark.parametrize('kind', ['PolygonLabels', 'RectangleLabels'])
def test_label_studios_own_package_accepts_what_is_found(predictor, folder, task, kind):
    interface = pytest.importorskip(
        'label_studio_sdk.label_interface', reason='pip install label-studio-sdk, for its checks'
    )
    source = find_source('everything', dict(points_per_side=4), [])
    backend = LabelStudioBackend(predictor, ImageSource(data_root=folder), source=source)
    config = task.config.replace('BrushLabels', kind)
    for regions in (None, [task.around(0)]):
        request = prediction_request(regions, task.address, config)
        (prediction,) = backend.predict(request)['results']
        assert prediction['result'][0]['type'] == kind.lower()
        checks = interface.LabelInterface(config)
        assert checks.validate_prediction(prediction, return_errors=True) == []


def test_image_of_several_pages_is_asked_page_by_page(backend, tasks):
    config = label_config(sorted({name for task in tasks for name in task.names}))
    pages = config.replace('value="$picture"', 'valueList="$picture"')
    request = prediction_request(None, [task.address for task in tasks], pages)
    (prediction,) = backend.predict(request)['results']
    assert {region['item_index'] for region in prediction['result']} == {0, 1}
    for page, task in enumerate(tasks):
        (alone,) = backend.predict(prediction_request(None, task.address, config))['results']
        found = [each for each in prediction['result'] if each['item_index'] == page]
        assert [each['value'] for each in found] == [each['value'] for each in alone['result']]
        click = {**task.click(0), 'item_index': page}
        request['params']['context'] = dict(result=[click])
        (region,) = backend.predict(request)['results'][0]['result']
        (expected,) = annotate(backend, task, task.click(0), config=config)
        assert region['value'] == expected['value'] and region['item_index'] == page
    request['params']['context'] = dict(result=[{**task.click(0), 'item_index': 2}])
    with pytest.raises(ValueError, match='no image 2, only 2'):
        backend.predict(request)
    request['tasks'][0]['data'] = dict(picture=task.address)
    with pytest.raises(ValueError, match='is a list of images'):
        backend.predict(request)


def test_image_that_cannot_be_had_is_an_error_of_its_task(backend, task):
    with pytest.raises(FileNotFoundError, match='missing.png'):
        backend.predict(prediction_request(None, '/data/local-files/?d=missing.png', task.config))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(label_config=None), 'no label_config'),
        (dict(label_config='<View/>'), '<BrushLabels>,'),
        (dict(label_config=label_config(['plum', 'Plum'])), 'more than once'),
        (dict(label_config=label_config(image='photo')), "'image' has no labels .*only photo"),
        (dict(tasks=None), 'has a list of tasks'),
        (dict(tasks=[3]), 'has a list of tasks'),
        (dict(tasks=[]), 'belong to one task, but there are 0'),
        (dict(tasks=[dict(data=dict(text='x'))]), "no 'picture'.*only text"),
        (dict(tasks=[dict(data='x')]), 'data of a request is an object'),
        (dict(params=dict(context=dict(draft=[]))), 'a list as result'),
        (dict(params=[1]), 'params of a request is an object'),
    ],
)
def test_bad_request_is_refused(backend, task, changes, message):
    request = prediction_request([task.around(0)], task.address, task.config)
    with pytest.raises(ValueError, match=message):
        backend.predict({**request, **changes})


def test_setup_tells_the_version_or_what_is_wrong(backend):
    for key in ('schema', 'label_config'):
        assert backend.setup({key: label_config()}) == dict(model_version='ovsam_mini')
    for schema, message in [
        (None, 'no schema'),
        ('<View/>', '<BrushLabels>,'),
        (label_config(['fig', 'fig']), 'more than once'),
    ]:
        with pytest.raises(ValueError, match=message):
            backend.setup(dict(schema=schema))


def test_setup_answers_while_many_labels_are_encoded(backend, monkeypatch):
    monkeypatch.setattr('mmovsam.label_studio.backend.SETUP_SECONDS', 0.05)
    go_on, entered = threading.Event(), threading.Event()

    def slow(*_):
        entered.set()
        assert go_on.wait(60)

    monkeypatch.setattr(OVSAMPredictor, 'set_vocabulary', slow)
    try:
        backend.setup(dict(schema=label_config()))
        assert entered.wait(60) and not go_on.is_set()
    finally:
        go_on.set()

"""The backend with the shipped model, on scenes of the small world that training never saw."""

import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from label_studio_requests import decode_brush, label_config, point, prediction_request, rectangle
from PIL import Image
from small_world import scene

from mmovsam.apis import OVSAMPredictor
from mmovsam.evaluation.open_vocab_metric import mask_iou
from mmovsam.label_studio import ImageSource, LabelStudioBackend

SEED = 11
OTHER_NAMES = ['plain red heart', 'dotted green star', 'checked blue digit three']


class Task:
    """A scene that lies among the local files."""

    def __init__(self, folder, index):
        self.scene = scene(SEED, index)
        Image.fromarray(self.scene.image).save(folder / f'{index}.png')
        self.address = f'/data/local-files/?d={index}.png'
        self.names = self.scene.names
        self.config = label_config(sorted({*self.names, *OTHER_NAMES}))
        self.size = self.scene.image.shape[1::-1]

    def click(self, index, positive=True):
        """A smart point where an object is thickest."""
        distance = cv2.distanceTransform(self.scene.masks[index].astype(np.uint8), cv2.DIST_L2, 5)
        y, x = np.unravel_index(distance.argmax(), distance.shape)
        return point(x + 0.5, y + 0.5, *self.size, positive)

    def around(self, index):
        """A smart rectangle around an object."""
        return rectangle(self.scene.boxes[index], *self.size)

    def decoded(self, region):
        return decode_brush(region['value']['rle'], self.scene.masks[0].shape)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('local_files')


@pytest.fixture(scope='module')
def tasks(folder):
    return [Task(folder, index) for index in range(2)]


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
        ([task.around(0), inside, outside], dict(points, box=task.scene.boxes[0])),
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
    encode = Mock(wraps=predictor.model.extract_feat)
    monkeypatch.setattr(predictor.model, 'extract_feat', encode)
    backend = LabelStudioBackend(predictor, ImageSource(data_root=folder), 'ovsam_mini')
    sets = [label_config(OTHER_NAMES), label_config([*task.names[:1], *OTHER_NAMES[:1]])]

    def names(turn):
        (region,) = annotate(backend, task, task.around(0), config=sets[turn % 2])
        return region['value']['brushlabels']

    expected = [names(0), names(1)]
    assert expected[0] != expected[1] == task.names[:1]
    with ThreadPoolExecutor(4) as people:
        assert list(people.map(names, range(8))) == expected * 4
    assert encode.call_count == 1


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
    with pytest.raises(FileNotFoundError, match='missing.png'):
        backend.predict(prediction_request(None, '/data/local-files/?d=missing.png', task.config))


def test_retrieved_predictions_are_what_find_finds_of_the_labels(backend, predictor, task):
    (prediction,) = backend.predict(prediction_request(None, task.address, task.config))['results']
    direct = predictor.fork()
    direct.set_vocabulary(sorted({*task.names, *OTHER_NAMES}))
    names = direct.classifier.subset(range(direct.classifier.num_classes), direct.vocabulary)
    expected = direct.find(names, task.scene.image, output_mode='mask')
    for region, thing in zip(prediction['result'], expected, strict=True):
        assert np.array_equal(task.decoded(region), thing['segmentation'])
        assert region['value']['brushlabels'] == [thing['name']]
        assert region['score'] == pytest.approx(thing['score'], abs=1e-3)
    scores = [thing['score'] for thing in expected]
    assert len(scores) >= 2 and prediction['score'] == pytest.approx(np.mean(scores), abs=1e-3)


def test_many_tasks_are_asked_for_one_by_one(backend, task):
    batch = prediction_request(None, 'https://nowhere.example/x.png', task.config)
    batch['tasks'] *= 3  # Label Studio asks again, task by task, if it gets one answer to several
    assert backend.predict(batch)['results'] == [[]]


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
        go_on.wait(60)

    monkeypatch.setattr(OVSAMPredictor, 'set_vocabulary', slow)
    try:
        backend.setup(dict(schema=label_config()))
        assert entered.wait(60) and not go_on.is_set()
    finally:
        go_on.set()

"""Several predictors of one model: forks, threads, vocabularies."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
from small_predictor import BOX, same

from mmovsam.apis import OVSAMPredictor
from mmovsam.vocabulary import load_text_encoder


def test_a_fork_has_its_own_image_and_vocabulary(model, predictor, picture, monkeypatch):
    expected = predictor.predict(box=BOX)
    fork = predictor.fork()
    assert fork.model is model and fork.vocabulary == predictor.vocabulary
    with pytest.raises(RuntimeError, match='call set_image'):
        fork.predict(box=BOX)
    fork.set_image(picture[::-1])
    fork.set_vocabulary(tiny.vocabulary(('pear', 'plum'), None, seed=3))
    assert set(fork.predict(box=BOX).names[0]) == {'pear', 'plum'}
    assert same(predictor.predict(box=BOX), expected)
    assert fork.fork().vocabulary == ('pear', 'plum')
    assert predictor.vocabulary == OVSAMPredictor(model).vocabulary == tiny.NAMES
    model.set_vocabulary(tiny.vocabulary(('lime', 'fig'), None))
    assert predictor.vocabulary == ('lime', 'fig') and fork.vocabulary == ('pear', 'plum')
    monkeypatch.setattr(model, 'extract_feat', None)  # they remember images together
    fork.set_image(picture)
    predictor.reset_image()
    assert fork.is_image_set and np.array_equal(fork.predict(box=BOX).masks, expected.masks)


def test_text_tower_is_loaded_once_for_all_forks(model, monkeypatch):
    loaded = []

    def load(**kwargs):
        loaded.append(kwargs)
        time.sleep(0.05)  # so that threads meet
        return load_text_encoder(**kwargs)

    monkeypatch.setattr('mmovsam.apis.name_encoder.load_text_encoder', load)
    predictor = OVSAMPredictor(model, text_encoder=dict(model=tiny.CLIP))
    forks = [predictor.fork() for _ in range(4)]
    assert not loaded  # before any names are asked for
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda fork: fork.set_vocabulary(['plum', 'pear']), forks))
    predictor.set_vocabulary(['fig'])
    assert len(loaded) == 1
    assert predictor.vocabulary == ('fig',) and forks[0].vocabulary == ('plum', 'pear')


def test_threads_get_what_they_would_get_alone(model):
    random = np.random.default_rng(5)
    images = [random.integers(0, 256, (50 + i, 60, 3), dtype=np.uint8) for i in range(4)]
    vocabularies = [tiny.vocabulary((f'a{i}', f'b{i}'), None, seed=i) for i in range(4)]

    def answers(predictor, index):
        predictor.set_vocabulary(vocabularies[index])
        predictor.set_image(images[index])
        return [predictor.predict(box=[x, 3, x + 20, 40]) for x in range(4)]

    expected = [answers(OVSAMPredictor(model), i) for i in range(4)]
    shared = OVSAMPredictor(model, cache_size=2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: answers(shared.fork(), i), range(4)))
    for one, other in zip(expected, found):
        assert all(map(same, one, other))


def test_predictors_of_one_model_wait_for_each_other(model, picture, monkeypatch):
    inside, most, recognize = [], [], model.recognize

    def watched(*args, **kwargs):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return recognize(*args, **kwargs)

    monkeypatch.setattr(model, 'recognize', watched)
    predictors = [OVSAMPredictor(model), OVSAMPredictor(model)]  # not only forks
    predictors.append(predictors[0].fork())
    for predictor in predictors:
        predictor.set_image(picture)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda predictor: [predictor.predict(box=BOX) for _ in range(3)], predictors))
    assert len(most) == 9 and max(most) == 1

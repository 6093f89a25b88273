from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel

from mmovsam.engine.hooks import ClassCheckHook
from mmovsam.models.heads import OpenVocabClassifier
from mmovsam.vocabulary import TextClassifier

NAMES = ('cat', 'dog')


class Named(BaseModel):
    def __init__(self, names=NAMES):
        super().__init__()
        self.classifier = OpenVocabClassifier()
        self.classifier.set_classifier(TextClassifier(torch.ones(2, 1, 3), names))

    def forward(self, inputs):
        return inputs


class Wrapped(torch.nn.parallel.DistributedDataParallel):
    """Several processes, as far as the model's place is concerned."""

    def __init__(self, module):
        torch.nn.Module.__init__(self)
        self.module = module


def loader(classes):
    return SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=classes)))


def runner(model, train=NAMES, val=NAMES, test=NAMES):
    return SimpleNamespace(
        model=model,
        val_loop=object(),
        train_dataloader=loader(train),
        val_dataloader=loader(val),
        test_dataloader=loader(test),
    )


@pytest.mark.parametrize('wrap', [lambda model: model, Wrapped])
@pytest.mark.parametrize(
    'phase, data', [('train', 'train'), ('train', 'val'), ('val', 'val'), ('test', 'test')]
)
def test_classes_in_another_order_stop_each_phase(wrap, phase, data):
    model = wrap(Named())
    check = getattr(ClassCheckHook(), f'before_{phase}')
    check(runner(model))
    with pytest.raises(ValueError, match="index 0 on, 'dog' in the data set and 'cat' in the voc"):
        check(runner(model, **{data: ('dog', 'cat')}))


@pytest.mark.parametrize(
    'data, vocabulary, warned',
    [
        ((False, True), None, True),
        ((False, True), (False, True), False),
        ((False, False), None, False),
        (None, None, False),
    ],
)
def test_split_that_the_vocabulary_lacks_is_warned_of(data, vocabulary, warned, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmovsam.engine.hooks.class_check_hook.print_log', lambda text, **_: lines.append(text)
    )
    model = Named()
    model.classifier.set_classifier(TextClassifier(torch.ones(2, 1, 3), NAMES, vocabulary))
    ran = runner(model)
    if data is not None:
        ran.test_dataloader.dataset.metainfo['novel'] = data
    ClassCheckHook().before_test(ran)
    assert [('1 novel classes' in line) for line in lines] == [True] * warned


def test_one_more_class_stops_even_where_the_vocabulary_has_no_names():
    with pytest.raises(ValueError, match='3 classes and the vocabulary 2'):
        ClassCheckHook().before_test(runner(Named(None), test=('a', 'b', 'c')))
    ClassCheckHook().before_test(runner(Named(None), test=('a', 'b')))


def test_models_without_names_and_data_without_classes_are_left_alone():
    ClassCheckHook().before_test(runner(torch.nn.Linear(1, 1), test=('a',)))
    ClassCheckHook().before_test(runner(Named(), test=None))

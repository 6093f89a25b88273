from types import SimpleNamespace

import numpy as np
import torch

from mmovsam.engine.hooks import ClassFrequencyHook
from mmovsam.models.losses import VocabularyLoss


def frequencies(**dataset):
    loss = VocabularyLoss()
    model = torch.nn.Module()
    model.head = torch.nn.Module()
    model.head.loss_cls = loss
    loader = SimpleNamespace(dataset=SimpleNamespace(**dataset))
    ClassFrequencyHook().before_train(SimpleNamespace(model=model, train_dataloader=loader))
    return None if loss.frequencies is None else loss.frequencies.tolist()


def test_loss_is_told_what_each_data_set_has():
    loss = VocabularyLoss(by_source=True)
    model = torch.nn.Module()
    model.head = torch.nn.Module()
    model.head.loss_cls = loss
    dataset = SimpleNamespace(source_classes=dict(a=np.array([True, False])))
    loader = SimpleNamespace(dataset=dataset)
    ClassFrequencyHook().before_train(SimpleNamespace(model=model, train_dataloader=loader))
    assert loss.source_classes['a'].tolist() == [True, False]


def test_frequencies_of_a_mixture_come_before_counts():
    assert frequencies(class_frequencies=[0.5, 1], class_counts=[3, 4]) == [0.5, 1]
    assert frequencies(class_counts=[3, 0]) == [3, 0]


def test_data_that_tells_nothing_leaves_classes_alike():
    assert frequencies() is None


def test_models_without_names_are_left_alone():
    ClassFrequencyHook().before_train(SimpleNamespace(model=torch.nn.Linear(1, 1)))

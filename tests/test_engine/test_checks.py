"""What is checked before a run begins."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from mmdet.datasets import ConcatDataset
from mmdet.registry import MODELS
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from mmengine.runner import EpochBasedTrainLoop
from noisy_training import NoisyModel
from tiny_data import annotation, dataset_config, write_data

from mmovsam.engine.hooks import (
    CheckpointCheckHook,
    ClassCheckHook,
    ClassFrequencyHook,
    ImageCheckHook,
    PrepareForInferenceHook,
)
from mmovsam.models.heads import OpenVocabClassifier
from mmovsam.models.losses import VocabularyLoss
from mmovsam.vocabulary import TextClassifier


@pytest.mark.parametrize('loop', ['training', 'test'])
@pytest.mark.parametrize(
    ('state_dict', 'message'),
    [
        (NoisyModel().state_dict(), None),
        ({f'module.{key}': value for key, value in NoisyModel().state_dict().items()}, None),
        (
            {'linear.weight': torch.ones(1, 4), 'other.weight': torch.ones(3)},
            r'5 of the 7 tensors .* \(linear\.bias, norm\.weight',
        ),
        (NoisyModel(width=7).state_dict(), r'linear\.weight: \(1, 7\) in the file, \(1, 4\)'),
        ({'other.weight': torch.ones(3)}, r'Nothing .* other\.weight, .*another config'),
    ],
    ids=['whole', 'wrapped', 'part', 'other shape', 'other model'],
)
def test_checkpoints_fit_the_model_or_are_refused(state_dict, message, loop):
    train_loop = object.__new__(EpochBasedTrainLoop) if loop == 'training' else {}
    runner = SimpleNamespace(model=NoisyModel(), _train_loop=train_loop)
    refused = message and not (loop == 'training' and 'tensors' in message)  # a start of training
    with pytest.raises(ValueError, match=message) if refused else contextlib.nullcontext():
        CheckpointCheckHook().after_load_checkpoint(runner, dict(state_dict=state_dict))


def test_model_is_prepared_for_a_test_and_not_for_training():
    model = MODELS.build(tiny.CONFIGS['ovsam']).train()
    hook, runner = PrepareForInferenceHook('bfloat16'), SimpleNamespace(model=model)
    hook.before_train(runner), hook.before_val(runner)
    PrepareForInferenceHook('auto').before_test(runner)  # a model on a CPU stays as it is
    assert model.encoder_dtype is None
    hook.before_test(runner)
    assert model.encoder_dtype == torch.bfloat16
    with pytest.raises(ValueError, match="'int8'; choose one of float32, bfloat16, float16"):
        PrepareForInferenceHook('int8')


NAMES = ('cat', 'dog')


class Named(BaseModel):
    def __init__(self, names=NAMES, novel=None):
        super().__init__()
        self.classifier = OpenVocabClassifier()
        self.classifier.set_classifier(TextClassifier(torch.ones(2, 1, 3), names, novel))

    def forward(self, inputs):
        return inputs


class Wrapped(torch.nn.parallel.DistributedDataParallel):
    """Several processes, as far as the model's place is concerned."""

    def __init__(self, module):
        torch.nn.Module.__init__(self)
        self.module = module


def runner_of(model, **classes):
    loaders = {}
    for loop in ('train', 'val', 'test'):
        dataset = SimpleNamespace(metainfo=dict(classes=classes.get(loop, NAMES)))
        loaders[f'{loop}_dataloader'] = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(model=model, val_loop=object(), **loaders)


@pytest.mark.parametrize('wrap', [lambda model: model, Wrapped])
@pytest.mark.parametrize(
    'phase, data', [('train', 'train'), ('train', 'val'), ('val', 'val'), ('test', 'test')]
)
def test_classes_in_another_order_stop_each_phase(wrap, phase, data):
    check = getattr(ClassCheckHook(), f'before_{phase}')
    check(runner_of(wrap(Named())))
    with pytest.raises(ValueError, match="index 0 on, 'dog' in the data set and 'cat' in the voc"):
        check(runner_of(wrap(Named()), **{data: ('dog', 'cat')}))


def test_classes_without_names_or_with_a_split_that_the_vocabulary_lacks(logged):
    check = ClassCheckHook().before_test
    check(runner_of(torch.nn.Linear(1, 1), test=('a',)))  # nothing to compare
    check(runner_of(Named(None), test=('a', 'b')))  # numbers, where there are no names
    with pytest.raises(ValueError, match='3 classes and the vocabulary 2'):
        check(runner_of(Named(None), test=('a', 'b', 'c')))
    assert 'novel' not in logged.text
    runner = runner_of(Named())
    runner.test_dataloader.dataset.metainfo['novel'] = (False, True)
    check(runner)
    assert '1 novel classes' in logged.text


@pytest.mark.parametrize(
    ('dataset', 'expected'),
    [
        (dict(class_frequencies=[0.5, 1], class_counts=[3, 4]), [0.5, 1]),
        (dict(class_counts=[3, 0], source_classes=dict(a=np.array([True, False]))), [3, 0]),
        ({}, None),
    ],
)
def test_loss_is_told_what_the_data_have(dataset, expected):
    model = torch.nn.Module()
    model.head = torch.nn.Module()
    model.head.loss_cls = loss = VocabularyLoss(by_source=True)
    loader = SimpleNamespace(dataset=SimpleNamespace(**dataset))
    ClassFrequencyHook().before_train(SimpleNamespace(model=model, train_dataloader=loader))
    assert (None if loss.frequencies is None else loss.frequencies.tolist()) == expected
    own = {name: classes.tolist() for name, classes in loss.source_classes.items()}
    assert own == (dict(a=[True, False]) if 'source_classes' in dataset else {})
    ClassFrequencyHook().before_train(SimpleNamespace(model=torch.nn.Linear(1, 1)))


def build(folder, missing, **kwargs):
    folder.mkdir()
    write_data(folder, [(20, 30)] * 8, [annotation(i, [2, 3, 9, 9], i) for i in range(1, 9)])
    for number in missing:
        (folder / f'{number}.png').unlink()
    return DATASETS.build(dict(dataset_config(folder, **kwargs), _scope_='mmdet'))


def check_images(train, val=None, moment='before_train'):
    def loop(data):
        return data and SimpleNamespace(dataloader=SimpleNamespace(dataset=data))

    loops = dict(train_loop=loop(train), val_loop=loop(val))
    runner = SimpleNamespace(**loops, test_dataloader=loop(train).dataloader)
    getattr(ImageCheckHook(), moment)(runner)


@pytest.mark.parametrize('moment', ['before_train', 'before_test'])
def test_missing_images_are_counted_and_named_with_the_remedy(tmp_path, moment):
    dataset = build(tmp_path / 'a', range(1, 8), lazy_init=moment == 'before_test')
    with pytest.raises(FileNotFoundError) as error:
        check_images(dataset, moment=moment)
    text = str(error.value)
    assert text.startswith('7 of 8 images are missing: ') and text.count('.png') == 5
    assert f'{tmp_path}/a/1.png, ' in text and '5.png ...' in text and 'data_prefix' in text


def test_those_of_training_and_validation_and_of_wrappers_are_one_message(tmp_path, logged):
    parts = [build(tmp_path / name, [3]) for name in 'ab']
    with pytest.raises(FileNotFoundError, match='4 of 24 images'):
        check_images(ConcatDataset(parts), build(tmp_path / 'c', [4, 5]))
    check_images(SimpleNamespace(datasets=[build(tmp_path / 'd', []), parts[1]], ratios=(1.0, 0.0)))
    check_images(list('ab'))  # no data set of MMEngine's
    assert 'missing' not in logged.text
    parts[1].damaged = 'skip'
    check_images(parts[1])
    assert '1 of 8 images are missing' in logged.text and 'skipped' in logged.text


def test_images_with_labels_are_looked_for_where_a_list_names_them(tmp_path):
    (tmp_path / 'owl').mkdir()
    (tmp_path / 'owl/1.png').touch()
    (tmp_path / 'list.txt').write_text('owl/1.png\towl\nowl/2.png\towl\n')
    cfg = dict(type='ImageLabelDataset', data_root=str(tmp_path), pipeline=[], _scope_='mmdet')
    with pytest.raises(FileNotFoundError, match=r'1 of 2 images are missing: .*owl/2\.png\.'):
        check_images(DATASETS.build(dict(cfg, ann_file='list.txt')))
    found = DATASETS.build(cfg)
    (tmp_path / 'owl/1.png').unlink()
    check_images(found)

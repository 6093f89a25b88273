"""A detector's weights: from which file, in which precision, and not in the owner's checkpoint."""

import logging

import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import ConfigDict
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from small_detectors import RETINANET, RPN, WHOLE, Model, Owner, fixed, of_array
from torch import nn

from mmovsam.prompts import DetectorPrompter


@pytest.mark.parametrize('save', [lambda model: model.state_dict(), get_state_dict])
def test_detector_is_left_out_of_the_owners_checkpoint(save):
    state = save(Owner(fixed()))
    assert set(state) == {'own.weight', 'own.bias'}


@pytest.mark.parametrize(
    'load',
    [
        lambda model, state: model.load_state_dict(state, strict=True),
        lambda model, state: load_state_dict(model, state, strict=True),
    ],
)
def test_owner_loads_strictly_without_the_detector(load):
    model = Owner(fixed())
    nn.init.ones_(model.prompter.detector.weight)
    state = {'own.weight': torch.ones(2, 2), 'own.bias': torch.ones(2)}
    load(model, state)
    assert set(state) == {'own.weight', 'own.bias'}
    assert (model.own.weight == 1).all()
    assert (model.prompter.detector.weight == 1).all()


def test_weights_in_the_owners_checkpoint_are_not_loaded_again(tmp_path):
    prompter = fixed(checkpoint=tmp_path / 'absent.pth')
    prompter.load_state_dict({'detector.weight': torch.ones(3)})
    prompter([of_array()])
    assert (prompter.detector.weight == 1).all()


@pytest.mark.parametrize('first_use', ['call', 'init_weights'])
def test_checkpoint_is_read_on_first_use(tmp_path, first_use):
    path = tmp_path / 'detector.pth'
    prompter = fixed(checkpoint=path)
    torch.save(dict(state_dict=dict(weight=torch.full((3,), 7.0))), path)
    if first_use == 'call':
        prompter([of_array()])
    else:
        prompter.init_weights()
    path.unlink()
    prompter([of_array()])
    assert (prompter.detector.weight == 7).all()


def test_checkpoint_of_the_detectors_config_is_the_default():
    prompter = DetectorPrompter(dict(WHOLE, load_from='of_config.pth'))
    assert prompter.checkpoint == 'of_config.pth'
    init_cfg = dict(type='Pretrained', checkpoint='of_model.pth')
    assert DetectorPrompter(dict(WHOLE, model=dict(RETINANET, init_cfg=init_cfg))).checkpoint == (
        'of_model.pth'
    )
    assert DetectorPrompter(dict(WHOLE, load_from='a.pth'), 'b.pth').checkpoint == 'b.pth'


def test_detector_without_weights_warns_once(monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmovsam.prompts.detector_prompter.print_log',
        lambda message, level, **kwargs: messages.append((message, level)),
    )
    prompter = fixed()
    prompter([of_array()])
    prompter([of_array()])
    ((message, level),) = messages
    assert 'no checkpoint' in message and level == logging.WARNING


def test_missing_checkpoint_is_named():
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        fixed(checkpoint='absent.pth')([of_array()])


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        (dict(weight=torch.zeros(4)), 'size mismatch'),
        (dict(other=torch.zeros(3)), "lacks 1 weights of the detector, such as \\['weight'\\]"),
    ],
)
def test_checkpoint_of_another_model_is_refused(tmp_path, state, message):
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=f'(?s)other\\.pth.*{message}'):
        fixed(checkpoint=tmp_path / 'other.pth')([of_array()])


def test_classes_are_the_checkpoints_before_the_configs(retinanet_file):
    prompter = DetectorPrompter(WHOLE, retinanet_file)
    assert prompter.classes == ('a', 'b', 'c'), 'the checkpoint is read for them'
    assert DetectorPrompter(WHOLE).classes == CocoDataset.METAINFO['classes']
    assert fixed().classes is None


def test_given_classes_count_before_all_and_read_nothing(tmp_path):
    prompter = fixed(classes=['x', 'y'], checkpoint=tmp_path / 'absent.pth')
    assert prompter.classes == ('x', 'y')


def test_region_proposal_network_prompts_without_names(tmp_path):
    whole = ConfigDict(dict(WHOLE, model=RPN))
    before = repr(whole)
    prompter = DetectorPrompter(whole, tmp_path / 'two_stage.pth')
    assert repr(whole) == before, 'RPN writes into its config, which is not the given one'
    # the weights of a two-stage detector: an RPN renames them while it loads
    torch.manual_seed(1)
    state = DetectorPrompter(whole).detector.state_dict()
    renamed = {key.replace('bbox_head.', 'rpn_head.'): value for key, value in state.items()}
    meta = dict(dataset_meta=dict(classes=['a', 'b', 'c']))
    torch.save(dict(state_dict=renamed, meta=meta), tmp_path / 'two_stage.pth')
    (prompts,) = prompter([of_array()])
    assert len(prompts) > 3
    for key, value in prompter.detector.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert prompts.labels.unique().tolist() == [0]
    assert prompter.classes is None


def test_what_only_a_loss_keeps_may_be_absent(tmp_path):
    path = tmp_path / 'detector.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(3))), path)
    prompter = fixed(checkpoint=path)
    prompter.detector.loss_cls = nn.BatchNorm1d(2)
    prompter([of_array()])
    other = fixed(checkpoint=path)
    other.detector.head = nn.BatchNorm1d(2)
    with pytest.raises(ValueError, match='lacks 4 weights'):
        other([of_array()])


@pytest.mark.parametrize('kind', [Owner, Model])
@pytest.mark.parametrize(
    'convert',
    [lambda m: m.half(), lambda m: m.double(), lambda m: m.to(torch.bfloat16)],
    ids=['half', 'double', 'bfloat16'],
)
def test_detector_keeps_its_precision_when_its_owner_changes(retinanet_file, kind, convert):
    model = kind(DetectorPrompter(WHOLE, retinanet_file))
    (expected,) = model.prompter([of_array()])
    model = convert(model)
    assert model.own.weight.dtype != torch.float32
    assert {p.dtype for p in model.prompter.detector.parameters()} == {torch.float32}
    (prompts,) = model.prompter([of_array()])
    assert torch.equal(prompts.bboxes, expected.bboxes)


def test_detector_is_left_alone_by_autocast_around_it(retinanet_file):
    prompter = DetectorPrompter(WHOLE, retinanet_file)
    (expected,) = prompter([of_array()])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (prompts,) = prompter([of_array()])
    assert len(prompts) > 3
    assert torch.equal(prompts.bboxes, expected.bboxes)
    assert torch.equal(prompts.scores, expected.scores)


@pytest.mark.parametrize('kind', [Owner, Model])
def test_detector_moves_with_its_owner_otherwise(retinanet_file, kind):
    model = kind(DetectorPrompter(WHOLE)).to('meta')
    assert {p.device.type for p in model.prompter.detector.parameters()} == {'meta'}
    assert {b.device.type for b in model.prompter.detector.buffers()} == {'meta'}

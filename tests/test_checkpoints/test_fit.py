"""Models whose weights are those of the files that their parts' `init_cfg` name."""

import pytest
import torch
from mmengine.model import BaseModel, BaseModule

from mmovsam.checkpoints import check_fit, load_initial_weights, names_all_weights

PRETRAINED = dict(type='Pretrained', checkpoint='file.pth')


class Part(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.linear = torch.nn.Linear(2, 2)
        self.norm = torch.nn.BatchNorm1d(2)
        self.scale = torch.nn.Parameter(torch.ones(2))
        self.register_buffer('cache', torch.zeros(9), persistent=False)


class Whole(BaseModel):
    def __init__(self, file=None):
        super().__init__()
        pretrained = dict(type='Pretrained', checkpoint=str(file))
        self.first = Part(dict(pretrained, prefix='a'))
        self.second = Part(dict(pretrained, prefix='b'))

    def forward(self, inputs):
        return inputs


def prefixed(module, prefix):
    return {f'{prefix}.{name}': value for name, value in module.state_dict().items()}


@pytest.fixture
def file(tmp_path):
    """Returns a function that writes the weights of two parts, with changes."""

    def write(**changes):
        torch.manual_seed(1)
        state = {**prefixed(Part(), 'a'), **prefixed(Part(), 'b')}
        for name, value in changes.items():
            state[name.replace('__', '.')] = value
        state = {name: value for name, value in state.items() if value is not None}
        torch.save(state, tmp_path / 'file.pth')
        return tmp_path / 'file.pth'

    return write


def test_all_weights_come_from_the_files_or_are_named(file, tmp_path):
    model = Whole(file())
    load_initial_weights(model)
    saved = torch.load(file(), weights_only=True)
    for name, value in {**prefixed(model.first, 'a'), **prefixed(model.second, 'b')}.items():
        assert torch.equal(value, saved[name]), name
    for changes, message in (
        (dict(b__scale=None), r'1 of the 14 tensors .*\(second.scale\).*Give a checkpoint'),
        (dict(a__linear__weight=torch.ones(2, 3)), r'1 of the 14 .*\(first.linear.weight\)'),
        (dict(b__norm__running_var=None), r'second.norm.running_var'),
    ):
        with pytest.raises(ValueError, match=message):
            load_initial_weights(Whole(file(**changes)))
    load_initial_weights(Whole(file(a__norm__num_batches_tracked=None)))  # may be missing
    with pytest.raises(FileNotFoundError, match='none.pth'):
        load_initial_weights(Whole(tmp_path / 'none.pth'))


def test_config_names_all_weights_if_each_part_with_weights_does():
    part = dict(type='Part', init_cfg=PRETRAINED)
    model = dict(
        type='Whole',
        first=part,
        second=dict(type='Both', inner=part, other=part, depth=3),
        classifier=dict(type='OpenVocabClassifier'),
        data_preprocessor=dict(type='OVSAMDataPreprocessor'),
        prompter=dict(type='GTPrompter'),
    )
    assert names_all_weights(model)
    assert names_all_weights(dict(type='Whole', first=dict(type='Part'), init_cfg=PRETRAINED))
    for init_cfg in (None, dict(type='Xavier'), [dict(type='Xavier')]):
        bare = dict(type='Part', init_cfg=init_cfg)
        assert not names_all_weights(dict(model, third=bare))
        assert not names_all_weights(dict(model, second=dict(type='Both', inner=part, other=bare)))
    assert not names_all_weights(dict(type='Whole', depth=2))


def test_weights_that_are_no_numbers_are_refused():
    model = Part()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    check_fit(model, state, strict=True)
    state['linear.weight'][0, 1] = float('nan')
    with pytest.raises(ValueError, match=r'1 tensors of the checkpoint hold NaN \(linear.weight\)'):
        check_fit(model, state)

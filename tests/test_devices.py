"""Where a model runs."""

import pytest
import torch

from mmovsam.devices import choose_device, describe_device, half_precision


@pytest.mark.parametrize('there', [True, False])
@pytest.mark.parametrize('name', [None, 'auto'])
def test_gpu_is_chosen_where_there_is_one(there, name, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: there)
    assert choose_device(name).type == ('cuda' if there else 'cpu')


def test_what_is_not_there_or_no_device_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='There is no cuda:1: .* finds 0 GPUs. Use cpu'):
        choose_device('cuda:1')
    with pytest.raises(ValueError, match="'gpu' is no device: give cpu, cuda"):
        choose_device('gpu')


def test_line_says_where_and_in_which_precision(monkeypatch):
    cpu = torch.device('cpu')
    assert describe_device(cpu).startswith('Device: cpu (')
    assert describe_device(cpu, half_precision(cpu)).endswith('bfloat16')
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: True)
    assert 'the GPU of Apple is not used' in describe_device(choose_device('cpu'))
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: False)  # as on old GPUs
    assert half_precision(torch.device('cuda')) == torch.float16

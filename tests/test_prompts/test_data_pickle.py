import io
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmovsam.prompts.data_pickle import load_data_pickle


class Runs:
    """Makes a folder when it is unpickled, by whatever function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def written(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_data_come_back_as_they_were(tmp_path, protocol):
    torch.manual_seed(0)
    content = dict(
        tensors=[torch.rand(2, 3), torch.arange(4)[::2], torch.zeros(0, 4), torch.tensor(True)],
        half=torch.rand(3, dtype=torch.bfloat16),
        arrays=[np.arange(6.0, dtype=np.float32).reshape(2, 3), np.zeros((0, 4)), np.arange(3)],
        numbers=(np.float32(0.5), np.int64(3), 1, 2.5, None, True),
        masks=[{'size': [4, 5], 'counts': b'\x00\xff02'}, {'size': [1, 1], 'counts': b''}],
        kinds={'a', 'b'},
        shape=torch.Size([3, 4]),
    )
    found = load_data_pickle(written(tmp_path / 'data.pkl', content, protocol))
    assert found.keys() == content.keys()
    for key in ('tensors', 'arrays'):
        for a, b in zip(found[key], content[key]):
            assert type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
            assert (a == b).all()
    assert torch.equal(found['half'], content['half'])
    for key in ('numbers', 'masks', 'kinds', 'shape'):
        assert found[key] == content[key]


def test_instances_come_back_as_their_fields(tmp_path):
    instances = InstanceData(bboxes=np.ones((2, 4)), scores=np.zeros(2))
    found = load_data_pickle(written(tmp_path / 'data.pkl', {'a/b.jpg': instances}))['a/b.jpg']
    assert not isinstance(found, InstanceData)
    assert vars(found)['bboxes'].tolist() == [[1] * 4] * 2
    assert vars(found)['scores'].tolist() == [0, 0]


@pytest.mark.parametrize('protocol', [2, 4, 5])
@pytest.mark.parametrize('function', [os.mkdir, eval, getattr, pickle.loads, np.load, torch.load])
def test_function_that_a_file_names_is_refused_and_not_called(tmp_path, function, protocol):
    trap = tmp_path / 'trap'
    arguments = dict(
        mkdir=(str(trap),),
        eval=(f'__import__("os").mkdir({str(trap)!r})',),
        getattr=(dict(), 'keys'),
        loads=(pickle.dumps(Runs(os.mkdir, str(trap))),),
        load=(str(trap),),
    )[function.__name__]
    path = written(tmp_path / 'data.pkl', [1, Runs(function, *arguments)], protocol)
    with pytest.raises(ValueError, match=rf'(?s)data\.pkl asks for .*{function.__name__}.*refused'):
        load_data_pickle(path)
    assert not trap.exists()


def test_code_inside_of_a_tensors_bytes_is_not_run(tmp_path):
    trap = tmp_path / 'trap'
    inner = io.BytesIO()
    torch.save(Runs(os.mkdir, str(trap)), inner, _use_new_zipfile_serialization=False)
    outer = Runs(torch.storage._load_from_bytes, inner.getvalue())
    with pytest.raises(ValueError, match='(?s)no readable pickle.*Weights only load failed'):
        load_data_pickle(written(tmp_path / 'data.pkl', outer))
    assert not trap.exists()
    torch.load(io.BytesIO(inner.getvalue()), weights_only=False)
    assert trap.exists(), 'there was something to refuse'


def test_class_of_another_package_is_named(tmp_path):
    path = written(tmp_path / 'data.pkl', [torch.nn.Linear(1, 1)])
    with pytest.raises(ValueError, match=r'asks for torch\.nn\.modules\.linear\.Linear'):
        load_data_pickle(path)


def test_file_that_ends_early_is_told_wherever_it_ends(tmp_path):
    whole = pickle.dumps([torch.zeros(3), np.zeros(2), {'a': b'b'}], 2)
    path = tmp_path / 'data.pkl'
    for stop in [*range(0, len(whole) - 1, 7), len(whole) - 1]:
        path.write_bytes(whole[:stop])
        with pytest.raises(ValueError, match=r'data\.pkl is no readable pickle.*write it again'):
            load_data_pickle(path)

import pytest
import torch
from small_detectors import WHOLE, weighted


@pytest.fixture(scope='session')
def retinanet_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('detector') / 'detector.pth'
    meta = dict(dataset_meta=dict(CLASSES=('a', 'b', 'c'), PALETTE=[(0, 0, 0)] * 3))
    torch.save(dict(state_dict=weighted(WHOLE), meta=meta), path)
    return path

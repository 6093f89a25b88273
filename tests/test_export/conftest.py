"""A small random model and its export, made once for all tests."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from mmdet.registry import MODELS

from mmovsam.export import ONNXModel, export_onnx


def build(**changes):
    """A small random OVSAM."""
    torch.manual_seed(0)
    model = MODELS.build(tiny.merged(tiny.OVSAM, dict(changes, neck=dict(num_blocks=1))))
    for module in model.modules():
        # the last batch norm of each residual block starts at zero and would hide the block
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    with torch.no_grad():  # logits on both sides of all thresholds
        for mlp in model.head.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(50)
    return model.eval()


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    """A model whose head reads the label token, its files, and these in onnxruntime."""
    model = build(head=dict(use_label_token=True))
    model.set_vocabulary(tiny.vocabulary())
    folder = tmp_path_factory.mktemp('export') / 'files'
    comparison = export_onnx(model, folder, tiny.vocabulary(), int8=True)
    return SimpleNamespace(
        model=model, folder=folder, comparison=comparison, onnx=ONNXModel(folder, num_threads=1)
    )


@pytest.fixture
def random_model():
    """Builds small random models, some settings changed."""
    return build

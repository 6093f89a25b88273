"""Small models and their pictures as fixtures."""

import pytest
import tiny
import torch
from mmdet.registry import MODELS


@pytest.fixture
def build():
    """`build('ovsam', head=dict(...))`: a small model, some of its settings replaced."""

    def build_model(kind='ovsam', **changes):
        torch.manual_seed(0)
        model = MODELS.build(tiny.merged(tiny.CONFIGS[kind], changes))
        # The last batch norm of each residual block starts at zero and would hide the block.
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        if getattr(model, 'classifier', None) is not None:
            model.set_vocabulary(tiny.vocabulary())
        return model.eval()

    return build_model


@pytest.fixture
def make():
    """The functions of `tiny`."""
    return tiny

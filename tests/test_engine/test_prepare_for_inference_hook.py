"""Testing a prepared model."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmovsam.engine.hooks import PrepareForInferenceHook
from mmovsam.layers.packed import InferenceLayer


def prepared(model):
    return {str(m.precision) for m in model.modules() if isinstance(m, InferenceLayer)}


def test_model_is_prepared_for_a_test_and_not_for_training():
    init_default_scope('mmdet')
    model = MODELS.build(tiny.CONFIGS['ovsam']).train()
    hook, runner = PrepareForInferenceHook('bfloat16'), SimpleNamespace(model=model)
    hook.before_train(runner), hook.before_val(runner)
    assert prepared(model) == set()
    hook.before_test(runner)
    assert str(torch.bfloat16) in prepared(model)


def test_unknown_precision_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="'int8'; choose one of float32, bfloat16, float16"):
        PrepareForInferenceHook('int8')

"""Testing a prepared model."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmovsam.engine.hooks import PrepareForInferenceHook


def test_model_is_prepared_for_a_test_and_not_for_training():
    init_default_scope('mmdet')
    model = MODELS.build(tiny.CONFIGS['ovsam']).train()
    hook, runner = PrepareForInferenceHook('bfloat16'), SimpleNamespace(model=model)
    hook.before_train(runner), hook.before_val(runner)
    assert model.encoder_dtype is None
    hook.before_test(runner)
    assert model.encoder_dtype == torch.bfloat16


def test_unknown_precision_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="'int8'; choose one of float32, bfloat16, float16"):
        PrepareForInferenceHook('int8')

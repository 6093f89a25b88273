"""A model prepared for inference: the same answers, and no way to mistake it for the original."""

import copy

import pytest
import tiny
import torch
from benchmarks import plain_twin

from mmovsam.apis import prepare_for_inference
from mmovsam.prompts import Prompts

BOXES = Prompts(bboxes=torch.tensor([[5.0, 5, 60, 50], [20, 30, 90, 91]]))


def randomized(model):
    """Batch norms as after a training, and no zeros that would hide a layer."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def answers(model):
    """Features and logits. Regions are the prompts': those of masks would jump with a pixel."""
    torch.manual_seed(3)
    model.test_cfg.update(head_region='prompt', clip_region='prompt')
    with torch.no_grad():
        features = model.extract_feat(torch.randn(2, 3, tiny.SIZE, tiny.SIZE))
        said = model.recognize(features.image(1), BOXES)
    found = [*features.region_maps, features.embedding, said.low_res_logits]
    return found + ([said.head_logits, said.clip_logits] if model.recognizes else [])


def difference(found, wanted):
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted))


@pytest.mark.parametrize('kind', ['ovsam', 'sam'])
def test_prepared_model_equals_the_textbook_twin_and_in_bfloat16_is_near(build, kind):
    model = randomized(build(kind))
    wanted = answers(plain_twin(model))
    low = answers(prepare_for_inference(copy.deepcopy(model), torch.bfloat16))
    assert difference(answers(prepare_for_inference(model)), wanted) < 1e-5
    assert {value.dtype for value in low} == {torch.float32}
    assert 1e-4 < difference(low, wanted) < 0.1


def test_prepared_model_refuses_to_be_saved_to_load_weights_and_to_train(build, make):
    model = build()
    weights = copy.deepcopy(model.state_dict())
    prepare_for_inference(model)
    for call in (model.state_dict, lambda: model.load_state_dict(weights)):
        with pytest.raises(RuntimeError, match='none can be saved or loaded'):
            call()
    data = model.data_preprocessor(make.batch(make.sample(2, training=True)))
    with pytest.raises(RuntimeError, match='cannot train'):
        model(**data, mode='loss')


@pytest.mark.parametrize(
    'change, error, match',
    [
        (lambda model: model.train(), ValueError, 'model.eval'),
        (lambda model: prepare_for_inference(model), ValueError, 'prepared already'),
        (lambda model: model.half(), ValueError, 'prepare it in float32'),
        (lambda model: torch.nn.Linear(1, 1), TypeError, 'needs an OVSAM, not a Linear'),
    ],
)
def test_what_cannot_be_prepared_is_told(build, change, error, match):
    model = build()
    with pytest.raises(error, match=match):
        prepare_for_inference(change(model))
    with pytest.raises(TypeError, match='torch.float64'):
        prepare_for_inference(build(), torch.float64)

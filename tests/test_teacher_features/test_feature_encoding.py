"""How embeddings become bytes, and what is lost."""

import math

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmovsam.checkpoints import load_checkpoint_file
from mmovsam.config_files import find_config
from mmovsam.datasets.mini_world import draw_scene
from mmovsam.teacher_features import DTYPES, encode, num_bytes

SEED = 3
FULL_SIZE = (256, 64, 64)  # of SAM's embedding of 1024x1024 pixels


@pytest.mark.parametrize(
    'dtype, most', [('float32', 4), ('float16', 2), ('bfloat16', 2), ('int8', 1.06)]
)
def test_an_embedding_takes_no_more_bytes_than_promised(dtype, most):
    encoded = encode(torch.randn(FULL_SIZE), dtype)
    assert len(encoded.data) == num_bytes(FULL_SIZE, dtype) <= most * 2**20


@pytest.mark.parametrize('dtype, error', [('float32', 0), ('float16', 2**-11), ('bfloat16', 2**-8)])
def test_floating_point_values_are_rounded_to_their_type(dtype, error):
    embedding = torch.randn(5, 3, 7)
    decoded = encode(embedding, dtype).decode()
    assert decoded.dtype == torch.float32
    assert ((decoded - embedding).abs() <= error * embedding.abs()).all()


def test_int8_is_off_by_half_a_step_of_its_channel_at_most():
    embedding = torch.randn(6, 9, 5) * torch.logspace(-3, 3, 6)[:, None, None] + 4
    low, high = embedding.aminmax(dim=-1)
    step = (high.amax(-1) - low.amin(-1)) / 255
    error = (encode(embedding, 'int8').decode() - embedding).abs().amax((1, 2))
    assert (error <= 0.501 * step + 1e-6 * embedding.abs().amax((1, 2))).all()


@pytest.mark.parametrize('value', [0.0, -7.25, 1e30])
def test_a_constant_channel_survives_int8(value):
    embedding = torch.full((2, 1, 3), value)
    assert torch.equal(encode(embedding, 'int8').decode(), embedding)


@pytest.mark.parametrize(
    ('value', 'dtype', 'message'),
    [
        *((value, dtype, 'not finite') for dtype in DTYPES for value in (math.nan, math.inf)),
        (1e5, 'float16', 'float16.*bfloat16'),
        (0.0, 'int4', "not 'int4'"),
    ],
)
def test_what_a_type_cannot_hold_is_refused(value, dtype, message):
    embedding = torch.zeros(2, 3, 3)
    embedding[1, 1, 1] = value
    with pytest.raises(ValueError, match=message):
        encode(embedding, dtype)


@pytest.fixture(scope='module')
def student():
    """The shipped adapter, which is trained to its end, and what the small SAM would teach it."""
    print(f'seed {SEED}')
    cfg = Config.fromfile(find_config('mini/sam2clip_mini.py')).model
    model = MODELS.build(cfg)
    for part, file, prefix in (
        (model.backbone, 'ovsam_mini', 'backbone.'),
        (model.neck, 'ovsam_mini', 'neck.'),
        (model.teacher, 'sam_mini', 'image_encoder.'),
    ):
        weights = load_checkpoint_file(f'mmovsam://{file}.safetensors')['state_dict']
        own = {
            k.removeprefix(prefix): v.float() for k, v in weights.items() if k.startswith(prefix)
        }
        part.load_state_dict(own)
    scenes = [draw_scene(np.random.default_rng([SEED, i]), 'test').image for i in range(2)]
    pictures = [torch.from_numpy(s[..., ::-1].copy()).permute(2, 0, 1) for s in scenes]
    inputs = model.data_preprocessor(dict(inputs=pictures, data_samples=None))['inputs']
    with torch.no_grad():
        teacher = model.teacher(inputs)
    return model.neck, model.neck(model.backbone(inputs)), teacher


@pytest.mark.parametrize('dtype', ['int8', 'bfloat16', 'float16'])
def test_loss_and_gradients_of_a_trained_student_stay_within_a_percent(student, dtype):
    neck, embedding, teacher = student
    stored = torch.stack([encode(each, dtype).decode() for each in teacher])
    parameters = [p for p in neck.parameters() if p.requires_grad]
    losses, gradients = [], []
    for target in (teacher, stored):
        loss = torch.nn.functional.mse_loss(embedding, target)
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, parameters, retain_graph=True))
    assert losses[0] < 0.05 * teacher.var()  # trained indeed: errors would count for less before
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    wrong, right = (
        torch.cat([g.flatten() for g in each])
        for each in ([b - a for a, b in zip(*gradients)], gradients[0])
    )
    worst = max((b - a).norm() / a.norm() for a, b in zip(*gradients))
    print(f'{dtype}: loss {losses[1] / losses[0] - 1:+.3%}')
    print(f'gradient {wrong.norm() / right.norm():.3%}, of the worst tensor {worst:.3%}')
    assert wrong.norm() < 0.01 * right.norm() and worst < 0.01

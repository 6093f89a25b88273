"""A GPU computes what the CPU does: pytest -m cuda.

Without a GPU the CPU takes its place, so that the tests themselves are tried.
"""

import numpy as np
import pytest
import tiny
import tiny_photo
import torch
from benchmarks.gpu import tf32
from torch.utils._pytree import tree_leaves

from mmovsam.apis import OVSAMPredictor, prepare_for_inference
from mmovsam.prompts import Prompts
from mmovsam.randomness import seeded

HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=pytest.mark.cuda)])
def device(request):
    """What is compared with the CPU, in exact float32."""
    if request.param == 'cuda' and not torch.cuda.is_available():
        pytest.fail('PyTorch finds no GPU: run these tests on a machine with one.')
    with tf32(False):
        yield torch.device(request.param)


def model_of(kind):
    """A small model with random weights, the same each time."""
    windows = dict(tiny_photo.WINDOWS, region_namer=tiny_photo.NAMER)
    parts = dict(windows=windows, crops=tiny_photo.WHOLE, photo={})
    return tiny_photo.build(**parts[kind]) if kind in parts else tiny.build(kind)


def prompts_of(size):
    """A box; a point; a box with a point; a mask; two points."""
    nan, nothing = float('nan'), [float('nan')] * 4
    mask_input = torch.full((5, 1, size, size), nan)
    mask_input[3] = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    return Prompts(
        bboxes=[[4.0, 4, 30, 30], nothing, [10, 8, 60, 50], nothing, nothing],
        point_coords=[[[0.0, 0], [0, 0]], [[9, 9], [0, 0]], [[30, 20], [0, 0]]]
        + [[[0, 0], [0, 0]], [[20, 20], [40, 8]]],
        point_labels=[[-1, -1], [1, -1], [1, -1], [-1, -1], [1, 0]],
        mask_input=mask_input,
    )


def close(found, wanted, atol, device):
    assert found.device.type == device.type
    assert torch.allclose(found.float().cpu(), wanted.float(), atol=atol, rtol=atol)


@torch.no_grad()
@pytest.mark.parametrize('kind', ['ovsam', 'sam', 'photo', 'windows', 'crops'])
def test_features_masks_and_names_equal_the_cpus(device, kind):
    outputs = []
    for place in ('cpu', device):
        model = model_of(kind).to(place)
        size = model.input_size
        image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
        features = model.extract_feat(image.to(place))
        outputs.append(model.recognize(features, prompts_of(model.logit_size)))
    for wanted, found in zip(*map(tree_leaves, outputs)):
        if wanted is not None:
            close(found, wanted, 2e-3, device)


@torch.no_grad()
@pytest.mark.parametrize('dtype', HALVES)
def test_half_precision_gives_the_same_masks_but_for_their_edges(device, dtype):
    image = torch.randn(1, 3, tiny.SIZE, tiny.SIZE, generator=torch.Generator().manual_seed(1))
    masks = []
    for place, precision in (('cpu', torch.float32), (device, dtype)):
        model = prepare_for_inference(model_of('ovsam').to(place), precision)
        features = model.extract_feat(image.to(place))
        logits = model.recognize(features, Prompts(bboxes=[[8.0, 8, 80, 70]])).low_res_logits
        assert logits.dtype == torch.float32
        masks.append(logits.cpu() > 0)
    assert (masks[0] == masks[1]).float().mean() > 0.97


@pytest.mark.parametrize('kind', ['ovsam', 'sam', 'distiller'])
def test_losses_and_gradients_equal_the_cpus(device, kind):
    found = []
    for place in ('cpu', device):
        model = model_of(kind).to(place)
        samples = [tiny.sample(3, training=True, seed=seed) for seed in range(2)]
        for seed, (_, sample) in enumerate(samples):
            sample.set_metainfo(dict(seed=seed))
        losses = model(**model.data_preprocessor(tiny.batch(*samples), True), mode='loss')
        total, _ = model.parse_losses(losses)
        total.backward()
        norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        found.append((total.detach(), torch.stack(norms)))
    # points of the mask losses are drawn on the device, by another generator
    atol = 1e-3 if kind == 'distiller' else 0.3
    close(found[1][0], found[0][0], atol, device)
    assert found[1][1].isfinite().all() and len(found[0][1]) == len(found[1][1])


def test_a_predictor_on_a_gpu_answers_as_one_on_the_cpu(device):
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    answers = []
    for place in ('cpu', device):
        predictor = OVSAMPredictor(model_of('crops').to(place))
        predictor.set_image(picture)
        first = predictor.predict(box=[10, 10, 60, 50], multimask_output=False)
        click = dict(point_coords=[[30, 30]], point_labels=[1])
        batch = predictor.predict_batch(
            [click, dict(mask_input=first.low_res_logits[0][None])], mask_format='rle'
        )
        predictor.segment_everything(points_per_side=3)
        predictor.segment_everything()  # what is proposed
        answers.append((first, batch))
    for wanted, found in zip(*answers):
        assert np.allclose(wanted.scores, found.scores, atol=2e-3)
        assert wanted.names == found.names


def test_a_seed_draws_the_same_on_whichever_device_is_current(device):
    if device.type == 'cuda':
        device = torch.device('cuda', torch.cuda.device_count() - 1)
    drawn = []
    for _ in range(2):
        with seeded(5, device):
            drawn.append(torch.rand(4, device=device))
    assert torch.equal(*drawn)
    torch.manual_seed(6)  # of every device
    undisturbed = torch.rand(4, device=device)
    torch.manual_seed(6)
    with seeded(5, device):
        torch.rand(4, device=device)
    assert torch.equal(torch.rand(4, device=device), undisturbed)

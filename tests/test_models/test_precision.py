"""Models in sixteen bits: what stays in 32, and how near the answers are."""

import pytest
import torch

from mmovsam.layers.bboxes import bboxes_of_logits

KINDS = [('ovsam', {}), ('baseline', dict(region='image')), ('baseline', dict(region='feature'))]
PRECISIONS = [
    pytest.param(lambda model: model.half(), None, id='half'),
    pytest.param(lambda model: model.double(), None, id='double'),
    pytest.param(lambda model: model, torch.bfloat16, id='autocast'),
]


def predict(model, data, autocast=None):
    enabled = autocast is not None
    with torch.autocast('cpu', autocast or torch.bfloat16, enabled=enabled):
        return [sample.pred_instances for sample in model.eval().test_step(data)]


@pytest.mark.parametrize(('kind', 'changes'), KINDS, ids=['ovsam', 'image', 'feature'])
@pytest.mark.parametrize(('convert', 'autocast'), PRECISIONS)
def test_answers_in_another_precision_are_near(build, two, kind, changes, convert, autocast):
    wanted = predict(build(kind, **changes), two)
    found = predict(convert(build(kind, **changes)), two, autocast)
    for ours, theirs in zip(found, wanted):
        assert torch.equal(ours.bboxes, theirs.bboxes)
        assert ours.scores.dtype in (torch.float32, torch.float64)
        assert torch.allclose(ours.scores.float(), theirs.scores, atol=0.1)
        assert (ours.masks == theirs.masks).float().mean() > 0.97


def test_losses_under_autocast_are_near_and_in_float32(build, make):
    losses = []
    for enabled in (False, True):
        sample = make.sample(3, training=True)
        sample[1].set_metainfo(dict(seed=1))
        model = build()
        data = model.data_preprocessor(make.batch(sample), True)
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            losses.append(model(**data, mode='loss'))
    wanted, found = losses
    assert {value.dtype for value in found.values()} == {torch.float32}
    for name, value in wanted.items():
        if name != 'acc':
            assert torch.allclose(found[name], value, rtol=0.1), name


def test_autocast_moves_no_point_and_rounds_neither_similarities_nor_boxes(build):
    encoder, classifier = build().prompt_encoder, build().classifier
    points = torch.tensor([[[10.0, 20.0]], [[10.5, 20.0]]]) / encoder.image_size
    embeddings = torch.randn(5, classifier.embeddings.shape[1])
    logits = torch.full((1, 1, 256, 256), -1.0)
    logits[..., 201:250, 131:255] = 1
    with torch.autocast('cpu', torch.bfloat16):
        low = encoder.pe_layer(points), classifier.logits(embeddings)
        bboxes = bboxes_of_logits(logits.bfloat16(), 1024)
    assert torch.equal(low[0], encoder.pe_layer(points))
    assert torch.equal(low[1], classifier.logits(embeddings))
    assert bboxes.tolist() == [[131 * 4, 201 * 4, 255 * 4, 250 * 4]]

"""OVSAM: what it predicts, from which prompts, and its settings."""

import dataclasses

import numpy as np
import pytest
import torch

from mmovsam.layers.bboxes import masks_to_bboxes
from mmovsam.prompts import Prompts


def predict(model, data):
    model.eval()
    return [sample.pred_instances for sample in model.test_step(data)]


def encoded(model, data):
    data = model.data_preprocessor(data)
    return model.extract_feat(data['inputs']), data['data_samples']


def random_prompts(kinds):
    """A box (b), a point (p) or both (m) for each letter."""
    random = np.random.default_rng(3)
    corner = random.uniform(0, 30, (len(kinds), 2))
    bboxes = torch.tensor(np.concatenate((corner, corner + random.uniform(8, 30, corner.shape)), 1))
    coords = torch.tensor(random.uniform(0, 60, (len(kinds), 1, 2)))
    labels = torch.ones(len(kinds), 1)
    for i, kind in enumerate(kinds):
        if kind == 'p':
            bboxes[i] = float('nan')
        if kind == 'b':
            labels[i] = -1
    return Prompts(bboxes=bboxes, point_coords=coords, point_labels=labels)


def test_predictions_have_the_sizes_of_the_original_images(build, two):
    model = build()
    for sample, num, shape in zip(model.test_step(two), (3, 2), ((60, 80), (90, 50))):
        found = sample.pred_instances
        assert found.masks.shape == (num, *shape) and found.masks.dtype == torch.bool
        assert found.bboxes.shape == (num, 4)
        assert torch.equal(found.bboxes, sample.gt_instances.bboxes)
        assert found.scores.shape == found.labels.shape == (num,)
        assert found.topk_labels.shape == found.topk_scores.shape == (num, 5)
        assert torch.equal(found.topk_labels[:, 0], found.labels)
        assert (found.topk_scores.diff(dim=1) <= 0).all()
        assert (found.labels != 5).all()  # neither base nor novel


def test_images_of_a_batch_do_not_touch_each_other_with_prompts_or_without(build, make, equal):
    model = build()
    model.set_vocabulary(make.vocabulary(('cat', 'dog'), None))

    def samples():
        return make.sample(3), make.sample(2, (90, 50), 1.0, seed=1), make.sample(0, seed=2)

    together = predict(model, make.batch(*samples()))
    for found, sample in zip(together, samples()):
        equal(found, predict(model, make.batch(sample))[0])
    assert [tuple(found.topk_labels.shape) for found in together] == [(3, 2), (2, 2), (0, 2)]
    assert together[2].masks.shape == (0, 60, 80) and together[2].masks.dtype == torch.bool


def test_prompts_of_mixed_kinds_get_what_they_get_alone_whatever_the_chunks(build, make, equal):
    model = build()
    features, samples = encoded(model, make.batch(make.sample(1)))
    features, meta = features.image(0), samples[0].metainfo
    prompts = random_prompts('bpmbbpb')
    together = model.predict_prompts(features, prompts, meta)
    equal(build(test_cfg=dict(chunk_size=2)).predict_prompts(features, prompts, meta), together)
    for i in range(7):
        equal(together[i : i + 1], model.predict_prompts(features, prompts[i], meta))
    bare = dict(point_coords=prompts.point_coords[1:2], point_labels=prompts.point_labels[1:2])
    equal(together[1:2], model.predict_prompts(features, Prompts(**bare), meta))
    box = Prompts(bboxes=prompts.bboxes[:1])
    equal(together[:1], model.predict_prompts(features, box, meta))
    own = build(test_cfg=dict(bboxes='mask')).predict_prompts(features, prompts, meta)
    assert torch.equal(own.bboxes, masks_to_bboxes(own.masks).float())
    assert torch.equal(together.bboxes[0], prompts.bboxes[0])
    assert torch.equal(together.bboxes[1], own.bboxes[1])  # a point has no box
    masked = Prompts(bboxes=box.bboxes, mask_input=torch.randn(1, 1, 24, 24))
    found = (model.recognize(features, each).low_res_logits for each in (box, masked))
    assert not torch.allclose(*found, atol=1e-3)


def test_what_is_missing_is_told(build, make, two):
    with pytest.raises(ValueError, match='set model.prompter'):
        predict(build(prompter=None), two)
    with pytest.raises(ValueError, match='region_neck'):
        build(region_neck=None)
    model = build()
    model.set_vocabulary(make.vocabulary(width=48))
    with pytest.raises(ValueError, match='width 48 and the model 32'):
        predict(model, two)
    model.classifier.embeddings = torch.zeros(0, 0)
    with pytest.raises(ValueError, match='has no vocabulary'):
        predict(model, two)
    model = build(test_cfg=dict(clip_region='annotated'))
    features, samples = encoded(model, make.batch(make.sample(1)))
    with pytest.raises(ValueError, match='Use that, or another region'):
        model.predict_prompts(features, random_prompts('bb'), samples[0].metainfo)


@pytest.mark.parametrize('which', ['head', 'clip'])
def test_regions_are_those_of_masks_prompts_or_annotations_as_told(build, make, which):
    annotated = torch.tensor([[0.0, 0, 20, 20], [20, 20, 90, 70]])
    prompts = dataclasses.replace(random_prompts('bp'), annotated_bboxes=annotated)
    logits = {}
    for region in ('mask', 'prompt', 'annotated'):
        other = 'head' if which == 'clip' else 'clip'
        model = build(test_cfg={f'{which}_region': region, f'{other}_region': 'mask'})
        features, _ = encoded(model, make.batch(make.sample(1)))
        said = model.recognize(features, prompts)
        logits[region] = said._asdict()[f'{which}_logits']
        bboxes = dict(
            mask=_boxes_of(said.low_res_logits, 4),
            prompt=torch.stack((prompts.bboxes[0], _boxes_of(said.low_res_logits, 4)[1])),
            annotated=annotated,
        )[region]
        if which == 'head':
            embedded = model.head.embed_regions(features.region_maps, bboxes)
        else:
            embedded = model.backbone.embed_regions(features.stage4, bboxes, said.low_res_logits)
        assert torch.allclose(model.classifier.logits(embedded), logits[region], atol=1e-4)
    assert not torch.allclose(logits['mask'][0], logits['prompt'][0], atol=1e-3)
    assert torch.allclose(logits['mask'][1], logits['prompt'][1], atol=1e-4)
    assert not torch.allclose(logits['prompt'], logits['annotated'], atol=1e-3)


def _boxes_of(low_res_logits, stride):
    bboxes = []
    for mask in (low_res_logits[:, 0] > 0).numpy():
        ys, xs = mask.nonzero()
        bboxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return torch.tensor(np.array(bboxes) * stride, dtype=torch.float32)


def test_annotated_regions_reach_the_model_through_predict(build, two):
    model = build(prompter=dict(mode='center'), test_cfg=dict(clip_region='annotated'))
    plain = build(prompter=dict(mode='center'))
    some, others = predict(model, two)[0], predict(plain, two)[0]
    assert torch.equal(some.masks, others.masks)
    assert not torch.allclose(some.topk_scores, others.topk_scores, atol=1e-6)


def test_without_neck_and_classifier_it_is_sam(build, make):
    model = build('sam', prompter=dict(mode='center'))
    empty, found = predict(model, make.batch(make.sample(0, seed=2), make.sample(3)))
    assert not model.recognizes
    assert found.masks.shape == (3, 60, 80) and empty.masks.shape == (0, 60, 80)
    assert found.scores.tolist() == [1, 1, 1]
    assert found.labels.tolist() == [0, 0, 0]
    assert 'topk_labels' not in found
    with pytest.raises(ValueError, match='segments only'):
        model.set_vocabulary(make.vocabulary())

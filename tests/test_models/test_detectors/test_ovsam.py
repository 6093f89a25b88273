"""OVSAM: what it predicts, from which prompts, and its settings."""

import dataclasses

import numpy as np
import pytest
import torch

from mmovsam.prompts import Prompts

KEYS = ('bboxes', 'scores', 'labels', 'masks', 'topk_labels', 'topk_scores')


@pytest.fixture
def two(make):
    """Two pictures of different size."""
    return make.batch(make.sample(3), make.sample(2, (90, 50), 1.0, seed=1))


def predict(model, data):
    model.eval()
    return [sample.pred_instances for sample in model.test_step(data)]


def encoded(model, data):
    data = model.data_preprocessor(data)
    return model.extract_feat(data['inputs']), data['data_samples']


def equal(some, others, keys=KEYS, atol=1e-5):
    for key in keys:
        a, b = some[key], others[key]
        assert a.shape == b.shape, key
        assert torch.allclose(a.float(), b.float(), atol=atol), key


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


# What comes out


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


def test_without_rescale_masks_and_boxes_have_the_size_of_the_networks_image(build, make):
    model = build()
    data = model.data_preprocessor(make.batch(make.sample(3)))
    found = model.predict(data['inputs'], data['data_samples'], rescale=False)[0]
    assert found.pred_instances.masks.shape == (3, 72, 96)
    assert torch.allclose(found.pred_instances.bboxes, found.gt_instances.bboxes * 1.2)


def test_images_of_a_batch_do_not_touch_each_other(build, make):
    model = build()
    together = predict(model, make.batch(make.sample(3), make.sample(2, (90, 50), 1.0, seed=1)))
    first = predict(model, make.batch(make.sample(3)))
    second = predict(model, make.batch(make.sample(2, (90, 50), 1.0, seed=1)))
    equal(together[0], first[0])
    equal(together[1], second[0])


def test_image_without_prompts_gives_an_empty_result(build, make):
    model = build()
    none, some = predict(model, make.batch(make.sample(0, seed=2), make.sample(2)))
    assert none.masks.shape == (0, 60, 80) and none.masks.dtype == torch.bool
    assert none.bboxes.shape == (0, 4)
    assert none.scores.shape == none.labels.shape == (0,)
    assert none.topk_labels.shape == (0, 5)
    assert len(some) == 2


def test_forward_in_mode_tensor_gives_the_features(build, two):
    model = build()
    data = model.data_preprocessor(two)
    outputs = model(**data, mode='tensor')
    assert [tuple(t.shape) for t in outputs] == [
        (2, 32, 6, 6),
        (2, 256, 3, 3),
        (2, 32, 24, 24),
        (2, 32, 12, 12),
        (2, 32, 6, 6),
        (2, 32, 3, 3),
    ]


def test_predicting_leaves_no_graph(build, two):
    model = build()
    data = model.data_preprocessor(two)
    found = model.predict(data['inputs'], data['data_samples'])[0].pred_instances
    assert not any(found[key].requires_grad for key in KEYS)


def test_an_image_of_one_pixel_and_one_prompt(build, make):
    picture, sample = make.sample(1)
    sample.set_metainfo(dict(ori_shape=(1, 1), img_shape=(96, 96), scale_factor=(96.0, 96.0)))
    sample.gt_instances.bboxes = torch.tensor([[0.0, 0, 1, 1]])
    found = predict(build(), make.batch((picture.new_zeros(3, 96, 96), sample)))[0]
    assert found.masks.shape == (1, 1, 1)


# Prompts


@pytest.mark.parametrize('chunk_size', [1, 2, 64])
def test_chunks_of_any_size_give_equal_results(build, make, chunk_size):
    prompts = random_prompts('bpmbbpb')
    results = []
    for size in (100, chunk_size):
        model = build(test_cfg=dict(chunk_size=size))
        features, samples = encoded(model, make.batch(make.sample(1)))
        results.append(model.predict_prompts(features.image(0), prompts, samples[0].metainfo))
    equal(*results)


def test_results_are_in_the_order_of_mixed_prompts(build, make):
    model = build()
    features, samples = encoded(model, make.batch(make.sample(1)))
    prompts = random_prompts('pbmpb')
    together = model.predict_prompts(features.image(0), prompts, samples[0].metainfo)
    for i in range(5):
        alone = model.predict_prompts(features.image(0), prompts[i], samples[0].metainfo)
        equal(together[i : i + 1], alone)


def test_a_box_and_a_point_alone_equal_their_rows_in_a_mixed_set(build, make):
    model = build()
    features, samples = encoded(model, make.batch(make.sample(1)))
    mixed = random_prompts('bp')
    together = model.predict_prompts(features.image(0), mixed, samples[0].metainfo)
    box = Prompts(bboxes=mixed.bboxes[:1])
    point = Prompts(point_coords=mixed.point_coords[1:], point_labels=mixed.point_labels[1:])
    equal(together[:1], model.predict_prompts(features.image(0), box, samples[0].metainfo))
    equal(together[1:], model.predict_prompts(features.image(0), point, samples[0].metainfo))


def test_mask_prompts_change_the_mask(build, make):
    model = build()
    features, _ = encoded(model, make.batch(make.sample(1)))
    bboxes = torch.tensor([[10.0, 10, 60, 60]])
    plain = model.recognize(features, Prompts(bboxes=bboxes))
    masked = model.recognize(features, Prompts(bboxes=bboxes, mask_input=torch.randn(1, 1, 24, 24)))
    assert not torch.allclose(plain.low_res_logits, masked.low_res_logits, atol=1e-3)


def test_without_a_prompter_predict_says_what_to_do(build, two):
    with pytest.raises(ValueError, match='set model.prompter'):
        predict(build(prompter=None), two)


# Settings of the test


@pytest.mark.parametrize(
    'test_cfg, message',
    [
        (dict(scores='detector'), r"test_cfg has no \['scores'\]"),
        (dict(score='best'), "test_cfg.score is 'best'"),
        (dict(bboxes='gt'), "test_cfg.bboxes is 'gt'"),
        (dict(clip_region='box'), "test_cfg.clip_region is 'box'"),
        (dict(chunk_size=0), 'chunk_size must be at least 1'),
    ],
)
def test_wrong_settings_of_the_test_are_named(build, test_cfg, message):
    with pytest.raises(ValueError, match=message):
        build(test_cfg=test_cfg)


def test_scores_mix_detector_and_recognition_as_told(build, make):
    bboxes = torch.tensor([[5.0, 5, 40, 40], [10, 0, 70, 50]])
    found = {}
    for score in ('recognition', 'detector', 'geometric'):
        model = build(test_cfg=dict(score=score))
        features, samples = encoded(model, make.batch(make.sample(1)))
        prompts = Prompts(bboxes=bboxes, scores=torch.tensor([0.25, 0.5]))
        found[score] = model.predict_prompts(features, prompts, samples[0].metainfo).scores
    assert found['detector'].tolist() == [0.25, 0.5]
    assert torch.allclose(found['geometric'], (found['recognition'] * found['detector']).sqrt())
    plain = model.predict_prompts(features, Prompts(bboxes=bboxes), samples[0].metainfo)
    assert torch.equal(plain.scores, found['recognition'])


def test_boxes_are_those_of_prompts_or_of_masks_as_told(build, make):
    prompts = random_prompts('bp')
    found = {}
    for bboxes in ('prompt', 'mask'):
        model = build(test_cfg=dict(bboxes=bboxes))
        features, samples = encoded(model, make.batch(make.sample(1)))
        found[bboxes] = model.predict_prompts(features, prompts, samples[0].metainfo)
    assert torch.equal(found['prompt'].bboxes[0], prompts.bboxes[0])
    assert torch.equal(found['prompt'].bboxes[1], found['mask'].bboxes[1])
    mask = found['mask'].masks[0].numpy()
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    assert found['mask'].bboxes[0].tolist() == [
        columns[0],
        rows[0],
        columns[-1] + 1,
        rows[-1] + 1,
    ]


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


def test_annotated_regions_need_annotated_boxes(build, make):
    model = build(test_cfg=dict(clip_region='annotated'))
    features, samples = encoded(model, make.batch(make.sample(1)))
    with pytest.raises(ValueError, match='Use that, or another region'):
        model.predict_prompts(features, random_prompts('bb'), samples[0].metainfo)


# Vocabulary


def test_vocabulary_changes_between_two_calls_without_encoding_again(build, make):
    model = build()
    features, samples = encoded(model, make.batch(make.sample(1)))
    prompts = random_prompts('bpb')
    before = model.predict_prompts(features, prompts, samples[0].metainfo)
    names = [f'class {i}' for i in range(9)]
    model.set_vocabulary(make.vocabulary(names, None, seed=5))
    changed = model.predict_prompts(features, prompts, samples[0].metainfo)
    assert torch.equal(before.masks, changed.masks)
    assert not torch.equal(before.topk_scores, changed.topk_scores)
    model.set_vocabulary(make.vocabulary())
    equal(before, model.predict_prompts(features, prompts, samples[0].metainfo))


def test_fewer_than_five_classes_give_fewer_than_five_best(build, make):
    model = build()
    model.set_vocabulary(make.vocabulary(('cat', 'dog'), None))
    found = predict(model, make.batch(make.sample(2), make.sample(0, seed=3)))
    assert [tuple(f.topk_labels.shape) for f in found] == [(2, 2), (0, 2)]


def test_no_vocabulary_is_said_in_a_sentence(build, two):
    model = build()
    model.classifier.embeddings = torch.zeros(0, 0, 0)
    with pytest.raises(ValueError, match='has no vocabulary'):
        predict(model, two)


def test_a_text_classifier_of_another_clip_is_refused(build, make, two):
    model = build()
    model.set_vocabulary(make.vocabulary(width=48))
    with pytest.raises(ValueError, match='width 48 and the model 32'):
        predict(model, two)


# SAM alone


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


def test_names_without_a_region_neck_are_refused(build):
    with pytest.raises(ValueError, match='region_neck'):
        build(region_neck=None)


def test_bfloat16_autocast_predicts(build, two):
    model = build()
    with torch.autocast('cpu', torch.bfloat16):
        found = predict(model, two)
    assert [len(f) for f in found] == [3, 2]

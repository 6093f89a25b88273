"""The baselines: SAM's masks, CLIP's names for crops of the image or of its features."""

import numpy as np
import pytest
import tiny
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from PIL import Image

from mmovsam.models.detectors.instances import masks_to_bboxes
from mmovsam.prompts import Prompts

KEYS = ('bboxes', 'scores', 'labels', 'masks', 'topk_labels', 'topk_scores')
REGIONS = ('image', 'feature')


def with_image(picture_and_sample, seed=0):
    """A sample whose original image is at hand."""
    picture, sample = picture_and_sample
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (*sample.ori_shape, 3), dtype=np.uint8)
    sample.set_metainfo(dict(ori_img=image))
    return picture, sample


@pytest.fixture
def two(make):
    """Two pictures of different size."""
    return make.batch(
        with_image(make.sample(3)), with_image(make.sample(2, (90, 50), 1.0, seed=1), seed=1)
    )


def predict(model, data, **kwargs):
    data = model.data_preprocessor(data)
    samples = model.predict(data['inputs'], data['data_samples'], **kwargs)
    return [sample.pred_instances for sample in samples]


def equal(some, others, keys=KEYS, atol=1e-5):
    for key in keys:
        a, b = some[key], others[key]
        assert a.shape == b.shape, key
        assert torch.allclose(a.float(), b.float(), atol=atol), key


@pytest.mark.parametrize('region', REGIONS)
def test_results_are_those_of_ovsam_in_kind(build, two, region):
    model = build('baseline', region=region)
    for sample, num, shape in zip(model.test_step(two), (3, 2), ((60, 80), (90, 50))):
        found = sample.pred_instances
        assert set(found.keys()) == set(KEYS)
        assert found.masks.shape == (num, *shape) and found.masks.dtype == torch.bool
        assert torch.equal(found.bboxes, sample.gt_instances.bboxes)
        assert found.scores.shape == found.labels.shape == (num,)
        assert found.topk_labels.shape == found.topk_scores.shape == (num, 5)
        assert torch.equal(found.topk_labels[:, 0], found.labels)
        assert (found.topk_scores.diff(dim=1) <= 0).all()
        assert (found.labels != 5).all()  # neither base nor novel


@pytest.mark.parametrize('region', REGIONS)
def test_masks_and_boxes_are_sams(build, two, region):
    model, sam = build('baseline', region=region), build('sam')
    sam.load_state_dict(model.sam.state_dict())
    for found, want in zip(predict(model, two), predict(sam, two)):
        assert want.masks.any()
        equal(found, want, ('masks', 'bboxes'))


def expected_topk(model, embeddings):
    """The best of the classes, by the softmax of CLIP's similarities."""
    logits = model.classifier.logits(embeddings)
    logits[:, 5] = -1000  # neither base nor novel
    return logits.softmax(1)[:, :-1].topk(5)


def test_image_crops_are_named_as_clip_names_pictures(build, two):
    model = build('baseline', crop=dict(margin=0.2, square=True))
    samples = two['data_samples']
    for found, sample in zip(predict(model, two), samples):
        crops = model.cropper(sample.ori_img[..., ::-1], found.masks)
        want = expected_topk(model, model.clip.visual(crops))
        assert torch.allclose(found.topk_scores, want.values, atol=1e-5)
        assert torch.equal(found.topk_labels, want.indices)
        assert torch.equal(found.scores, found.topk_scores[:, 0])


def test_feature_crops_are_named_as_ovsams_clip_does(build, two):
    model, ovsam = build('baseline', region='feature'), build()
    ovsam.backbone.load_state_dict(model.clip.state_dict())
    data = model.data_preprocessor(two)
    sam_features = model.sam.extract_feat(data['inputs'])
    stage4 = ovsam.extract_feat(data['inputs']).stage4
    for index, found in enumerate(predict(model, two)):
        sample = two['data_samples'][index]
        prompts = Prompts(bboxes=sample.gt_instances.bboxes).scaled(sample.scale_factor)
        logits = model.sam.recognize(sam_features.image(index), prompts).low_res_logits
        bboxes = masks_to_bboxes(logits[:, 0] > 0).float() * 4
        embeddings = ovsam.backbone.embed_regions(stage4[index : index + 1], bboxes, logits)
        want = expected_topk(model, embeddings)
        assert torch.allclose(found.topk_scores, want.values, atol=1e-5)


@pytest.mark.parametrize('region', REGIONS)
def test_chunks_and_batches_of_any_size_give_equal_results(build, two, region):
    want = predict(build('baseline', region=region), two)
    small = build(
        'baseline', region=region, sam=dict(test_cfg=dict(chunk_size=2)), crop_batch_size=1
    )
    for found, expected in zip(predict(small, two), want):
        equal(found, expected)


def test_crops_are_encoded_a_few_at_a_time(build, make, monkeypatch):
    model = build('baseline', crop_batch_size=2, sam=dict(test_cfg=dict(chunk_size=5)))
    sizes = []
    monkeypatch.setattr(
        model.clip, 'embed_images', lambda x: sizes.append(len(x)) or torch.ones(len(x), 32)
    )
    predict(model, make.batch(with_image(make.sample(7))))
    assert sizes == [2, 2, 1, 2]


@pytest.mark.parametrize('region', REGIONS)
def test_image_without_prompts_gives_an_empty_result(build, make, region):
    model = build('baseline', region=region)
    data = make.batch(with_image(make.sample(0)), with_image(make.sample(2)))
    none, some = predict(model, data)
    assert none.masks.shape == (0, 60, 80) and none.bboxes.shape == (0, 4)
    assert none.scores.shape == none.labels.shape == (0,)
    assert none.topk_labels.shape == (0, 5)
    assert len(some) == 2


@pytest.mark.parametrize('region', REGIONS)
def test_names_do_not_depend_on_the_size_of_the_result(build, two, region):
    model = build('baseline', region=region)
    original = predict(model, two)
    network = predict(model, two, rescale=False)
    assert network[0].masks.shape == (3, 72, 96)
    for found, want in zip(network, original):
        equal(found, want, ('labels', 'topk_scores'))


def test_image_is_read_from_its_file_like_the_array(build, make, tmp_path):
    model = build('baseline')
    picture, sample = with_image(make.sample(3))
    want = predict(model, make.batch((picture, sample)))[0]
    path = tmp_path / 'image.png'
    Image.fromarray(np.ascontiguousarray(sample.ori_img[..., ::-1])).save(path)
    sample.set_metainfo(dict(ori_img=None, img_path=str(path)))
    equal(predict(model, make.batch((picture, sample)))[0], want)


def test_missing_image_is_named(build, make, tmp_path):
    model = build('baseline')
    picture, sample = make.sample(1)
    sample.set_metainfo(dict(img_path=str(tmp_path / 'gone.png')))
    with pytest.raises(FileNotFoundError, match='gone.png'):
        predict(model, make.batch((picture, sample)))
    sample.set_metainfo(dict(img_path=None))
    with pytest.raises(ValueError, match='img_path or ori_img'):
        predict(model, make.batch((picture, sample)))


def test_empty_masks_have_names_too(build, two, monkeypatch):
    for region in REGIONS:
        model = build('baseline', region=region)
        decode = model.sam.head.decode

        def nothing(*args, decode=decode):
            said = decode(*args)
            return said._replace(low_res_logits=-said.low_res_logits.abs() - 1)

        monkeypatch.setattr(model.sam.head, 'decode', nothing)
        for found in predict(model, two):
            assert not found.masks.any()
            assert found.topk_scores.isfinite().all()


def test_detectors_scores_count_as_in_ovsam(build, make):
    class Detector(torch.nn.Module):
        def forward(self, samples):
            bboxes = torch.tensor([[5.0, 5, 40, 40], [10, 0, 70, 50]])
            return [Prompts(bboxes=bboxes, scores=torch.tensor([0.25, 0.5])) for _ in samples]

    scores = {}
    for score in ('recognition', 'detector', 'geometric'):
        model = build('baseline', sam=dict(test_cfg=dict(score=score)))
        model.prompter = Detector()
        scores[score] = predict(model, make.batch(with_image(make.sample(1))))[0].scores
    assert scores['detector'].tolist() == [0.25, 0.5]
    want = (scores['recognition'] * scores['detector']).sqrt()
    assert torch.allclose(scores['geometric'], want)


def test_points_are_prompts_too(build, make):
    model = build('baseline', prompter=dict(mode='center'))
    found = predict(model, make.batch(with_image(make.sample(3))))[0]
    assert torch.equal(found.bboxes, masks_to_bboxes(found.masks).float())


def test_vocabulary_can_be_changed(build, make, two):
    model = build('baseline')
    model.set_vocabulary(make.vocabulary(('cat', 'dog'), None))
    assert predict(model, two)[0].topk_labels.shape == (3, 2)


def test_bfloat16_autocast_predicts(build, two):
    for region in REGIONS:
        with torch.autocast('cpu', torch.bfloat16):
            found = predict(build('baseline', region=region), two)
        assert [len(f) for f in found] == [3, 2]


def test_forward_in_mode_tensor_gives_the_features(build, two):
    shapes = {}
    for region in REGIONS:
        model = build('baseline', region=region)
        data = model.data_preprocessor(two)
        shapes[region] = [tuple(t.shape) for t in model(**data, mode='tensor')]
    assert shapes['image'] == [(2, 32, 6, 6)]
    assert shapes['feature'] == [(2, 32, 6, 6), (2, 256, 3, 3)]


# What it refuses


def test_it_cannot_be_trained(build, two):
    model = build('baseline')
    with pytest.raises(ValueError, match='nothing to train'):
        model(**model.data_preprocessor(two), mode='loss')


def test_without_a_prompter_predict_says_what_to_do(build, two):
    with pytest.raises(ValueError, match='set model.prompter'):
        predict(build('baseline', prompter=None), two)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(region='box'), r"region is 'box'; choose one of \('image', 'feature'\)"),
        (dict(crop_batch_size=0), 'crop_batch_size must be at least 1, not 0'),
        (dict(crop=dict(margin=-1)), 'margin of a crop must be at least 0'),
    ],
)
def test_wrong_settings_are_named(build, changes, message):
    with pytest.raises(ValueError, match=message):
        build('baseline', **changes)


def test_a_sam_with_names_of_its_own_is_refused():
    init_default_scope('mmdet')
    with pytest.raises(ValueError, match='only segments'):
        MODELS.build(dict(tiny.BASELINE, sam=tiny.OVSAM))

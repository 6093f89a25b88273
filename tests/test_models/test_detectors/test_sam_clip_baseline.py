"""The baselines: SAM's masks, CLIP's names for crops of the image or of its features."""

import numpy as np
import pytest
import tiny
import torch
from mmdet.registry import MODELS
from PIL import Image

from mmovsam.layers.bboxes import masks_to_bboxes
from mmovsam.prompts import Prompts

REGIONS = ('image', 'feature')


def predict(model, data, **kwargs):
    data = model.data_preprocessor(data)
    samples = model.predict(data['inputs'], data['data_samples'], **kwargs)
    return [sample.pred_instances for sample in samples]


@pytest.mark.parametrize('region', REGIONS)
def test_results_are_those_of_ovsam_in_kind_and_masks_are_sams(build, make, two, equal, region):
    model, sam = build('baseline', region=region), build('sam')
    sam.load_state_dict(model.sam.state_dict())
    results = predict(model, two)
    for found, want, num in zip(results, predict(sam, two), (3, 2)):
        assert set(found.keys()) == {*want.keys(), 'topk_labels', 'topk_scores'}
        assert want.masks.any()
        equal(found, want, ('masks', 'bboxes'))
        assert found.topk_labels.shape == found.topk_scores.shape == (num, 5)
        assert torch.equal(found.topk_labels[:, 0], found.labels)
        assert (found.labels != 5).all()  # neither base nor novel
    shapes = [tuple(t.shape) for t in model(**model.data_preprocessor(two), mode='tensor')]
    assert shapes == [(2, 32, 6, 6), (2, 256, 3, 3)][: 1 + (region == 'feature')]
    for found, want in zip(predict(model, two, rescale=False), results):
        equal(found, want, ('labels', 'topk_scores'))
    empty = make.sample(0)
    empty[1].set_metainfo(dict(ori_img=np.zeros((60, 80, 3), np.uint8)))
    (none,) = predict(model, make.batch(empty))
    assert none.masks.shape == (0, 60, 80) and none.bboxes.shape == (0, 4)
    assert none.topk_labels.shape == (0, 5)


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


def test_image_is_read_from_its_file_like_the_array_or_named(build, make, two, equal, tmp_path):
    model = build('baseline')
    picture, sample = two['inputs'][0], two['data_samples'][0]
    want = predict(model, make.batch((picture, sample)))[0]
    path = tmp_path / 'image.png'
    Image.fromarray(np.ascontiguousarray(sample.ori_img[..., ::-1])).save(path)
    sample.set_metainfo(dict(ori_img=None, img_path=str(path)))
    equal(predict(model, make.batch((picture, sample)))[0], want)
    sample.set_metainfo(dict(img_path=str(tmp_path / 'gone.png')))
    with pytest.raises(FileNotFoundError, match='gone.png'):
        predict(model, make.batch((picture, sample)))
    sample.set_metainfo(dict(img_path=None))
    with pytest.raises(ValueError, match='img_path or ori_img'):
        predict(model, make.batch((picture, sample)))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(region='box'), r"region is 'box'; choose one of \('image', 'feature'\)"),
        (dict(crop_batch_size=0), 'crop_batch_size must be at least 1, not 0'),
        (dict(crop=dict(margin=-1)), 'margin of a crop must be at least 0'),
    ],
)
def test_what_it_cannot_do_is_told(build, two, changes, message):
    with pytest.raises(ValueError, match=message):
        build('baseline', **changes)
    with pytest.raises(ValueError, match='only segments'):
        MODELS.build(dict(tiny.BASELINE, sam=tiny.OVSAM))
    model = build('baseline')
    with pytest.raises(ValueError, match='nothing to train'):
        model(**model.data_preprocessor(two), mode='loss')

"""Whatever is asked of a model, its tensors meet on its device, and the host waits for none."""

import numpy as np
import pytest
import tiny_photo
import torch
from other_device import other_device

from mmovsam.apis import OVSAMPredictor
from mmovsam.apis.prompt_input import prompted
from mmovsam.apis.track import track
from mmovsam.models.detectors.naming import ClassMap
from mmovsam.prompts import Prompts

NAN = float('nan')
BBOXES = [[4.0, 4, 30, 30], [10, 8, 60, 50], [2, 20, 12, 44]]


def mixed(size):
    """A box; a point; a box with a point; a mask; a mask with a box; nothing."""
    nothing = [NAN] * 4
    mask_input = torch.full((6, 1, size, size), NAN)
    mask_input[3:5] = 1.0
    return Prompts(
        bboxes=[BBOXES[0], nothing, BBOXES[1], nothing, BBOXES[2], nothing],
        point_coords=torch.full((6, 1, 2), 12.0),
        point_labels=[[-1], [1], [1], [-1], [-1], [-1]],
        mask_input=mask_input,
    )


META = dict(img_shape=(72, 96), ori_shape=(60, 80), scale_factor=(1.2, 1.2))


PHOTO = dict(
    photo={},
    windows=dict(tiny_photo.WINDOWS, region_namer=tiny_photo.NAMER),
    crops=tiny_photo.WHOLE,
)


@pytest.fixture(params=['ovsam', 'sam', 'baseline', *PHOTO])
def model(request, build):
    if request.param in PHOTO:
        return tiny_photo.build(**PHOTO[request.param]).to('meta')
    changes = dict(region='feature') if request.param == 'baseline' else {}
    return build(request.param, **changes).to('meta')


def features_of(model):
    size = model.input_size
    return model.extract_feat(torch.zeros(1, 3, size, size, device='meta'))


@torch.no_grad()
def test_from_the_encoder_to_the_masks_the_host_waits_for_nothing_and_all_is_on_the_device(model):
    features = None
    for prompts in (mixed(model.logit_size), Prompts.empty()):
        with other_device() as work:
            features = features or features_of(model)
            output = model.predict_chunk(features, prompts, META)
        assert work.waits == [] and output.low_res_logits.is_meta
        assert len(output.low_res_logits) == len(prompts)
    given = Prompts(bboxes=BBOXES, labels=[0, 1, 2], scores=[0.9, 0.8, 0.7])
    with other_device():
        found = model.predict_prompts(features, given, META)
    assert {key for key, value in found.items() if not value.is_meta} == set()
    if hasattr(model, 'recognize'):
        prompts = mixed(model.logit_size)
        with other_device() as work:
            outputs = model.recognize(features, prompts, True)
        assert work.waits == [] and len(outputs.low_res_logits) % len(prompts) == 0


@torch.no_grad()
@pytest.mark.parametrize(
    'kind, changes',
    [
        ('ovsam', dict(test_cfg=dict(names='detector'))),
        ('ovsam', dict(test_cfg=dict(names='fused'))),
        ('baseline', {}),  # whose crops for CLIP are cut on the host
    ],
)
def test_names_of_a_detector_and_of_crops_meet_on_one_device(build, kind, changes):
    model = build(kind, **changes).to('meta')
    class_map = ClassMap(('owl', 'plum'), model.classifier.class_names)
    prompts = Prompts(bboxes=BBOXES, labels=[0, 1, 0], scores=[0.9, 0.8, 0.7])
    meta = dict(META, ori_img=np.zeros((60, 80, 3), np.uint8))
    with other_device():
        found = model.predict_prompts(features_of(model), prompts, meta, class_map=class_map)
    assert found.labels.is_meta and found.scores.is_meta


@pytest.mark.parametrize('mask_format', ['tensor', 'rle'])
def test_a_batch_is_answered_on_one_device_whichever_the_prompter_uses(build, make, mask_format):
    model = build(test_cfg=dict(mask_format=mask_format)).to('meta')
    data = make.batch(make.sample(3), make.sample(2, (90, 50), 1.0, seed=1))
    for place in ('cpu', 'meta'):
        prompts = [Prompts(bboxes=BBOXES[:number]).to(place) for number in (3, 2)]
        with other_device(), prompted(model, prompts):
            found = [sample.pred_instances for sample in model.test_step(data)]
        assert [len(each.masks) for each in found] == [3, 2]


@pytest.fixture
def predictor():
    """Of a photo model with all its parts, on the device."""
    return OVSAMPredictor(tiny_photo.build(**tiny_photo.WHOLE).to('meta'))


PICTURE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
LOW = dict(stability_thr=0.0, quality_thr=0.0)


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(points_per_side=2, **LOW),
        dict(points_per_side=1, crop_layers=1, **LOW),
        dict(points_per_side=1, tile_size=64, **LOW),
    ],
    ids=['proposals', 'points', 'crops', 'tiles'],
)
def test_everything_is_found_from_any_device(predictor, options):
    with other_device() as work:
        predictor.segment_everything(PICTURE, **options)
    assert work.kernels


def test_a_predictor_answers_finds_and_follows_from_any_device(predictor):
    coords, labels = torch.tensor([[[30.0, 30]]]), torch.ones(1, 1)
    click = dict(point_coords=[[30, 30]], point_labels=[1])
    names, bboxes = predictor.vocabulary[:1], np.array(BBOXES[:1])
    with other_device():
        predictor.find(names, PICTURE)
        predictor.find(names, PICTURE, bboxes=bboxes)
        followed = track(predictor, [(str(i), PICTURE) for i in range(3)], bboxes=bboxes)
        assert len(followed['videos']) == 1
        predictor.set_image(PICTURE)
        first = predictor.predict(box=[10, 10, 60, 50], multimask_output=False)
        again = dict(click, mask_input=first.low_res_logits[0][None])
        answer = predictor.predict_batch([click, again, dict(box=[10, 10, 60, 50])])
        assert answer.masks.shape == (3, 60, 80)
        for place in ('cpu', 'meta'):  # tensors are answered with tensors of the device
            answers = [
                predictor.predict_torch(coords.to(place), labels.to(place)),
                predictor.predict_torch(None, None, torch.tensor(BBOXES).to(place)),
            ]
            assert all(each.is_meta for answer in answers for each in answer)


@pytest.mark.parametrize(
    'mix',
    [
        lambda x, host: x + host,
        lambda x, host: host @ x.mT,
        lambda x, host: torch.cat((x, host)),
        lambda x, host: torch.where(x > 0, x, host),
        lambda x, host: host[torch.zeros(2, dtype=torch.long, device='meta')],
    ],
)
def test_a_tensor_of_the_host_among_those_of_the_device_is_an_error(mix):
    with other_device(), pytest.raises(RuntimeError, match='device'):
        mix(torch.zeros(4, 3, device='meta'), torch.ones(4, 3))

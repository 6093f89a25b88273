"""Prompts from MMDetection's detectors, and where their weights come from."""

import contextlib
import copy

import mmcv
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from small_detectors import PIPELINE, RETINANET, RPN, WHOLE, Model, Owner, fixed, of_array
from torch import nn

from mmovsam.prompts import DetectorPrompter

NAN, INF = float('nan'), float('inf')


@pytest.fixture(scope='module')
def retinanet_file(tmp_path_factory):
    """Weights of a detector that finds something."""
    path = tmp_path_factory.mktemp('detector') / 'detector.pth'
    torch.manual_seed(0)
    detector = DetectorPrompter(copy.deepcopy(WHOLE)).detector
    nn.init.normal_(detector.bbox_head.retina_cls.weight, std=0.5)
    nn.init.zeros_(detector.bbox_head.retina_cls.bias)
    meta = dict(dataset_meta=dict(CLASSES=('a', 'b', 'c'), PALETTE=[(0, 0, 0)] * 3))
    torch.save(dict(state_dict=detector.state_dict(), meta=meta), path)
    return path


def test_array_is_seen_as_the_file_it_came_from(retinanet_file, tmp_path):
    mmcv.imwrite(of_array().get('ori_img'), str(tmp_path / 'image.png'))
    prompter = DetectorPrompter(WHOLE, retinanet_file)
    samples = [DetDataSample(metainfo=dict(img_path=str(tmp_path / 'image.png'))), of_array()]
    from_file, from_array = prompter(samples)
    assert len(from_file) > 3
    assert torch.equal(from_file.bboxes, from_array.bboxes)


def test_boxes_are_sorted_limited_and_filtered_image_by_image():
    rows = (0, 0, 9, 9, 0.2, 0), (0, 0, 90, 8, 0.9, 1), (0, 0, 9, 7, 0.04, 2), (0, 0, 3, 3, 0.5, 3)
    large, small = fixed(*rows, max_per_img=2)([of_array(40, 60), of_array(7, 9)])
    assert large.labels.tolist() == small.labels.tolist() == [1, 3]
    assert large.scores.tolist() == pytest.approx([0.9, 0.5])
    assert large.bboxes.tolist() == [[0, 0, 60, 8], [0, 0, 3, 3]]
    assert small.bboxes.tolist() == [[0, 0, 9, 7], [0, 0, 3, 3]]
    (prompts,) = fixed(*rows, filter=dict(score_thr=0, min_size=4, nms_iou=0.5))([of_array()])
    assert prompts.labels.tolist() == [1, 0]


def test_boxes_are_clipped_and_bad_ones_dropped_and_counted(logged):
    prompter = fixed(
        (-5, -5, 10, 100, 0.9, 0),  # clipped
        (NAN, 0, 5, 5, 0.9, 1),
        (0, 0, INF, 5, 0.9, 1),
        (0, 0, 5, 5, NAN, 1),
        (70, 0, 80, 5, 0.9, 1),  # outside
        (5, 5, 5, 9, 0.9, 1),  # no area
        (9, 5, 5, 9, 0.9, 1),  # inverted
    )
    (prompts,) = prompter([of_array(40, 60)])
    assert prompts.bboxes.tolist() == [[0, 0, 10, 40]]
    assert 'drops 3 boxes that are not finite and 3 without area' in logged.messages[-1]


@pytest.mark.parametrize('side, expected', [(0, 2), (5, 5)])
def test_boxes_of_a_detector_that_finds_masks_alone_are_those_of_the_masks(side, expected):
    masked = fixed((0, 0, side, side, 0.9, 3), fields=('bboxes', 'scores', 'masks'))
    (prompts,) = masked([of_array()])
    assert prompts.bboxes.tolist() == [[0, 0, expected, expected]]
    assert prompts.labels is None and prompts.mask_input is None


def test_images_of_one_size_are_detected_together_and_the_answers_are_the_same(retinanet_file):
    pipeline = [step for step in PIPELINE if step['type'] != 'Pad']
    prompter = DetectorPrompter(WHOLE, retinanet_file, pipeline=pipeline)
    samples = [of_array(40, 60), of_array(60, 40), of_array(20, 30), of_array(40, 60)]
    batches = []
    counted = prompter.detector.backbone
    counted.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    together = prompter(samples)
    assert batches == [3, 1]
    for found, sample in zip(together, samples):
        (alone,) = prompter([sample])
        assert len(alone) > 3
        assert torch.allclose(found.bboxes, alone.bboxes, atol=1e-3)
        assert torch.equal(found.labels, alone.labels)


def skipping():
    pipeline = [dict(PIPELINE[0], ignore_empty=True), *PIPELINE[1:]]
    return DetectorPrompter(dict(type='FixedDetector'), pipeline=pipeline)


@pytest.mark.parametrize(
    ('build', 'sample', 'message'),
    [
        (lambda: fixed((0, 0, 5, 5, 0.9, 3), columns=5), of_array(), r'shape \(1, 5\), expected'),
        (lambda: fixed(fields=('labels',)), of_array(), 'no pred_instances with bboxes and scores'),
        (lambda: fixed(fields=()), of_array(), 'FixedDetector returns no pred_instances'),
        (fixed, of_array(40, 60, ori_shape=(60, 40)), 'as 60x40 .* as 40x60.*color_type'),
        (fixed, DetDataSample(), 'needs img_path or ori_img'),
        (skipping, DetDataSample(metainfo=dict(img_path='absent.png')), 'nothing for .*absent.png'),
    ],
)
def test_images_and_results_that_make_no_prompts_are_refused(build, sample, message):
    with pytest.raises(ValueError, match=message):
        build()([sample])


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(detector=dict(optimizer=3)), ValueError, "no model, only \\['optimizer'\\]"),
        (dict(detector=RETINANET), ValueError, 'no test pipeline'),
        (dict(detector=WHOLE, score_thr=2), ValueError, 'score_thr'),
        (dict(detector=WHOLE, filter=dict(iou=1)), ValueError, 'filter has no iou'),
        (dict(detector='absent.py'), FileNotFoundError, 'no config absent.py'),
        (dict(detector='no_such_package::x.py'), FileNotFoundError, 'no_such_package'),
    ],
)
def test_bad_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        DetectorPrompter(**arguments)


# The detector within its owner


def test_detector_is_frozen_in_eval_mode_and_without_sync_batch_norm():
    whole = copy.deepcopy(WHOLE)
    whole['model']['backbone']['norm_cfg'] = dict(type='SyncBN')
    prompter = DetectorPrompter(whole).train()
    assert prompter.training
    assert not any(module.training for module in prompter.detector.modules())
    assert not any(parameter.requires_grad for parameter in prompter.detector.parameters())
    assert not any(isinstance(part, nn.SyncBatchNorm) for part in prompter.detector.modules())
    # a SyncBN among several processes refuses the CPU
    assert prompter([of_array()])[0].bboxes.shape[1] == 4


@pytest.mark.parametrize(('kind', 'dtype'), [(Owner, torch.half), (Model, torch.double)])
def test_detector_keeps_its_precision_and_moves_with_its_owner(retinanet_file, kind, dtype):
    model = kind(DetectorPrompter(WHOLE, retinanet_file))
    (expected,) = model.prompter([of_array()])
    model = model.to(dtype)
    assert model.own.weight.dtype == dtype
    assert {p.dtype for p in model.prompter.detector.parameters()} == {torch.float32}
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (prompts,) = model.prompter([of_array()])
    assert len(prompts) > 3 and torch.equal(prompts.bboxes, expected.bboxes)
    assert torch.equal(prompts.scores, expected.scores)
    detector = model.to('meta').prompter.detector
    assert all(each.is_meta for each in [*detector.parameters(), *detector.buffers()])


@pytest.mark.parametrize(
    ('save', 'load'), [(Owner.state_dict, Owner.load_state_dict), (get_state_dict, load_state_dict)]
)
def test_detector_is_left_out_of_the_owners_checkpoint(save, load):
    model = Owner(fixed())
    nn.init.ones_(model.prompter.detector.weight)
    state = save(model)
    assert set(state) == {'own.weight', 'own.bias'}
    load(model, {key: torch.ones_like(value) for key, value in state.items()}, strict=True)
    assert (model.own.weight == 1).all() and (model.prompter.detector.weight == 1).all()


# Its checkpoint


def test_checkpoint_is_read_on_first_use(tmp_path):
    for first_use in (lambda prompter: prompter([of_array()]), DetectorPrompter.init_weights):
        prompter = fixed(checkpoint=tmp_path / 'detector.pth')
        torch.save(dict(state_dict=dict(weight=torch.full((3,), 7.0))), prompter.checkpoint)
        first_use(prompter)
        (tmp_path / 'detector.pth').unlink()
        prompter([of_array()])
        assert (prompter.detector.weight == 7).all()


def test_checkpoint_of_the_detectors_config_is_the_default(logged):
    assert DetectorPrompter(dict(WHOLE, load_from='of_config.pth')).checkpoint == 'of_config.pth'
    init_cfg = dict(type='Pretrained', checkpoint='of_model.pth')
    whole = dict(WHOLE, model=dict(RETINANET, init_cfg=init_cfg), load_from='of_config.pth')
    assert DetectorPrompter(whole).checkpoint == 'of_model.pth'
    assert DetectorPrompter(whole, 'b.pth').checkpoint == 'b.pth'
    prompter = fixed()
    prompter([of_array()])
    prompter([of_array()])
    assert logged.text.count('has no checkpoint') == 1


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        (dict(weight=torch.zeros(4)), 'does not fit the detector.*size mismatch'),
        (dict(other=torch.zeros(3)), "lacks 1 weights of the detector, such as \\['weight'\\]"),
    ],
)
def test_checkpoint_of_another_model_is_refused_each_time(tmp_path, state, message):
    torch.save(state, tmp_path / 'other.pth')
    prompter = fixed(checkpoint=tmp_path / 'other.pth')
    for _ in range(2):
        with pytest.raises(ValueError, match=f'(?s)other\\.pth.*{message}'):
            prompter([of_array()])
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        fixed(checkpoint='absent.pth')([of_array()])
    torch.save(dict(weight=torch.ones(3)), tmp_path / 'other.pth')
    for part in ('loss_cls', 'head'):  # what only a loss keeps may be absent
        prompter = fixed(checkpoint=tmp_path / 'other.pth')
        setattr(prompter.detector, part, nn.BatchNorm1d(2))
        with contextlib.nullcontext() if part == 'loss_cls' else pytest.raises(ValueError):
            prompter([of_array()])


def test_classes_are_given_or_the_checkpoints_or_the_configs(retinanet_file, tmp_path):
    prompter = DetectorPrompter(WHOLE, retinanet_file)
    assert prompter.classes == ('a', 'b', 'c'), 'the checkpoint is read for them'
    assert DetectorPrompter(WHOLE).classes == CocoDataset.METAINFO['classes']
    assert fixed().classes is None
    given = fixed(classes=['x', 'y'], checkpoint=tmp_path / 'absent.pth')
    assert given.classes == ('x', 'y')


def test_region_proposal_network_prompts_without_names(tmp_path):
    whole = ConfigDict(dict(WHOLE, model=RPN))
    before = repr(whole)
    prompter = DetectorPrompter(whole, tmp_path / 'two_stage.pth')
    assert repr(whole) == before, 'RPN writes into its config, which is not the given one'
    # the weights of a two-stage detector: an RPN renames them while it loads
    torch.manual_seed(1)
    state = DetectorPrompter(whole).detector.state_dict()
    renamed = {key.replace('bbox_head.', 'rpn_head.'): value for key, value in state.items()}
    meta = dict(dataset_meta=dict(classes=['a', 'b', 'c']))
    torch.save(dict(state_dict=renamed, meta=meta), tmp_path / 'two_stage.pth')
    (prompts,) = prompter([of_array()])
    assert len(prompts) > 3
    for key, value in prompter.detector.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert prompts.labels.unique().tolist() == [0] and prompter.classes is None

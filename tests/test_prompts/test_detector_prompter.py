import copy
import logging

import mmcv
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from mmengine.structures import InstanceData
from torch import nn

from mmovsam.prompts import DetectorPrompter

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='Pad', size=(96, 96), pad_val=dict(img=(114, 114, 114))),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

# One of MMDetection's own detectors, as small as it gets.
RETINANET = dict(
    type='RetinaNet',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='ResNet', depth=18, num_stages=4, base_channels=8, out_indices=(2, 3),
        norm_cfg=dict(type='BN'), style='pytorch',
    ),
    neck=dict(type='FPN', in_channels=[32, 64], out_channels=8, num_outs=2),
    bbox_head=dict(
        type='RetinaHead', num_classes=3, in_channels=8, stacked_convs=1, feat_channels=8,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.0],
            strides=[16, 32],
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
    ),
    test_cfg=dict(
        nms_pre=100, min_bbox_size=0, score_thr=0.01, nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=50,
    ),
)  # fmt: skip
WHOLE = dict(
    model=RETINANET,
    test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=PIPELINE)),
    test_cfg=dict(type='TestLoop'),
)


@MODELS.register_module()
class FixedDetector(BaseModel):
    """Finds what it is told to, in pixels of the original image, and notes what it was given."""

    def __init__(self, found=(), **kwargs):
        super().__init__(**kwargs)
        self.found = found
        self.weight = nn.Parameter(torch.zeros(3))
        self.inputs = []

    def forward(self, inputs, data_samples, mode):
        assert mode == 'predict'
        assert not self.training
        assert not torch.is_grad_enabled()
        self.inputs.append(inputs)
        rows = torch.tensor(self.found, dtype=torch.float32).reshape(-1, 6)
        data_samples[0].pred_instances = InstanceData(
            bboxes=rows[:, :4], scores=rows[:, 4], labels=rows[:, 5].long()
        )
        return data_samples


def fixed(*found, **kwargs):
    detector = dict(type='FixedDetector', found=[list(map(float, row)) for row in found])
    return DetectorPrompter(detector, pipeline=PIPELINE, **kwargs)


def of_array(height=40, width=60, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return DetDataSample(metainfo=dict(img_id=1, ori_img=image))


@pytest.fixture(scope='module')
def retinanet_file(tmp_path_factory):
    """A detector with weights that find something, saved."""
    torch.manual_seed(0)
    detector = DetectorPrompter(copy.deepcopy(WHOLE)).detector
    nn.init.normal_(detector.bbox_head.retina_cls.weight, std=0.5)
    nn.init.zeros_(detector.bbox_head.retina_cls.bias)
    path = tmp_path_factory.mktemp('detector') / 'detector.pth'
    torch.save(dict(state_dict=detector.state_dict(), meta=dict(dataset_meta={})), path)
    return path


def test_boxes_are_those_of_the_inferencer_for_file_and_array(retinanet_file, tmp_path):
    image = of_array().get('ori_img')
    mmcv.imwrite(image, str(tmp_path / 'image.png'))
    config = tmp_path / 'config.py'
    visualizer = dict(type='DetLocalVisualizer', name='test_detector_prompter')
    Config(dict(WHOLE, default_scope='mmdet', visualizer=visualizer)).dump(config)
    inferencer = DetInferencer(str(config), str(retinanet_file), device='cpu', show_progress=False)
    result = inferencer(str(tmp_path / 'image.png'), pred_score_thr=0.0)['predictions'][0]
    expected, scores = torch.tensor(result['bboxes']), torch.tensor(result['scores'])
    # This detector pads, and also finds something in the padding.
    expected = expected.clamp(max=torch.tensor([60, 40, 60, 40]))
    kept = (scores >= 0.05) & (expected[:, 2:] > expected[:, :2]).all(dim=1)
    assert kept.sum() > 3

    prompter = DetectorPrompter(str(config), retinanet_file)
    samples = [
        DetDataSample(metainfo=dict(img_id=5, img_path=str(tmp_path / 'image.png'))),
        of_array(),
    ]
    for prompts in prompter(samples):
        torch.testing.assert_close(prompts.scores, scores[kept])
        torch.testing.assert_close(prompts.bboxes, expected[kept], atol=1e-4, rtol=1e-4)
        assert prompts.labels.tolist() == torch.tensor(result['labels'])[kept].tolist()


def test_image_passes_the_detectors_own_preprocessing_at_its_own_size(retinanet_file):
    prompter = fixed()
    prompter([of_array(40, 60)])
    (inputs,) = prompter.detector.inputs
    assert inputs[0].shape == (3, 96, 96)
    assert (inputs[0][:, 70:] == 114).all()


def test_boxes_are_sorted_cut_off_and_limited():
    prompter = fixed(
        (0, 0, 5, 5, 0.2, 0), (0, 0, 6, 6, 0.9, 1), (0, 0, 7, 7, 0.04, 2), (0, 0, 8, 8, 0.5, 3),
        max_per_img=2,
    )  # fmt: skip
    (prompts,) = prompter([of_array()])
    assert prompts.labels.tolist() == [1, 3]
    assert prompts.scores.tolist() == pytest.approx([0.9, 0.5])
    assert prompts.bboxes.tolist() == [[0, 0, 6, 6], [0, 0, 8, 8]]


def test_boxes_are_clipped_and_bad_ones_dropped_and_counted(monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmovsam.prompts.detector_prompter.print_log',
        lambda message, **kwargs: messages.append(message),
    )
    nan = float('nan')
    prompter = fixed(
        (-5, -5, 10, 100, 0.9, 0),  # clipped
        (nan, 0, 5, 5, 0.9, 1),
        (0, 0, float('inf'), 5, 0.9, 1),
        (0, 0, 5, 5, nan, 1),
        (70, 0, 80, 5, 0.9, 1),  # outside
        (5, 5, 5, 9, 0.9, 1),  # no area
        (9, 5, 5, 9, 0.9, 1),  # inverted
    )
    (prompts,) = prompter([of_array(40, 60)])
    assert prompts.bboxes.tolist() == [[0, 0, 10, 40]]
    assert 'drops 3 boxes that are not finite and 3 without area' in messages[-1]


def test_image_without_boxes_has_no_prompt():
    assert [len(prompts) for prompts in fixed()([of_array(), of_array()])] == [0, 0]


def test_order_of_images_is_kept():
    prompter = fixed((0, 0, 100, 100, 0.9, 0))
    sizes = [prompts.bboxes[0].tolist() for prompts in prompter([of_array(40, 60), of_array(7, 9)])]
    assert sizes == [[0, 0, 60, 40], [0, 0, 9, 7]]


def test_detector_is_frozen_and_stays_in_eval_mode():
    prompter = DetectorPrompter(WHOLE).train()
    assert prompter.training
    assert not any(module.training for module in prompter.detector.modules())
    assert not any(parameter.requires_grad for parameter in prompter.parameters())


def test_whole_config_is_not_changed():
    before = repr(WHOLE)
    DetectorPrompter(WHOLE)
    assert repr(WHOLE) == before


class Owner(nn.Module):
    def __init__(self, prompter):
        super().__init__()
        self.own = nn.Linear(2, 2)
        self.prompter = prompter


@pytest.mark.parametrize('save', [lambda model: model.state_dict(), get_state_dict])
def test_detector_is_left_out_of_the_owners_checkpoint(save):
    state = save(Owner(fixed()))
    assert set(state) == {'own.weight', 'own.bias'}
    state = save(Owner(fixed(keep_in_checkpoint=True)))
    assert set(state) == {'own.weight', 'own.bias', 'prompter.detector.weight'}


@pytest.mark.parametrize(
    'load',
    [
        lambda model, state: model.load_state_dict(state, strict=True),
        lambda model, state: load_state_dict(model, state, strict=True),
    ],
)
def test_owner_loads_strictly_without_the_detector(load):
    model = Owner(fixed())
    nn.init.ones_(model.prompter.detector.weight)
    state = {'own.weight': torch.ones(2, 2), 'own.bias': torch.ones(2)}
    load(model, state)
    assert set(state) == {'own.weight', 'own.bias'}
    assert (model.own.weight == 1).all()
    assert (model.prompter.detector.weight == 1).all()


def test_kept_detector_is_missed_when_it_is_absent():
    state = Owner(fixed()).state_dict()
    with pytest.raises(RuntimeError, match=r'prompter\.detector\.weight'):
        Owner(fixed(keep_in_checkpoint=True)).load_state_dict(state)


def test_kept_detector_is_not_loaded_again(tmp_path):
    prompter = fixed(keep_in_checkpoint=True, checkpoint=tmp_path / 'absent.pth')
    prompter.load_state_dict({'detector.weight': torch.ones(3)})
    prompter([of_array()])
    assert (prompter.detector.weight == 1).all()


@pytest.mark.parametrize('first_use', ['call', 'init_weights'])
def test_checkpoint_is_read_on_first_use(tmp_path, first_use):
    path = tmp_path / 'detector.pth'
    prompter = fixed(checkpoint=path)
    torch.save(dict(state_dict=dict(weight=torch.full((3,), 7.0))), path)
    if first_use == 'call':
        prompter([of_array()])
    else:
        prompter.init_weights()
    path.unlink()
    prompter([of_array()])
    assert (prompter.detector.weight == 7).all()


def test_checkpoint_of_the_detectors_config_is_the_default():
    prompter = DetectorPrompter(dict(WHOLE, load_from='of_config.pth'))
    assert prompter.checkpoint == 'of_config.pth'
    init_cfg = dict(type='Pretrained', checkpoint='of_model.pth')
    assert DetectorPrompter(dict(WHOLE, model=dict(RETINANET, init_cfg=init_cfg))).checkpoint == (
        'of_model.pth'
    )
    assert DetectorPrompter(dict(WHOLE, load_from='a.pth'), 'b.pth').checkpoint == 'b.pth'


def test_detector_without_weights_warns_once(monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmovsam.prompts.detector_prompter.print_log',
        lambda message, level, **kwargs: messages.append((message, level)),
    )
    prompter = fixed()
    prompter([of_array()])
    prompter([of_array()])
    ((message, level),) = messages
    assert 'no checkpoint' in message and level == logging.WARNING


def test_missing_checkpoint_is_named():
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        fixed(checkpoint='absent.pth')([of_array()])


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        (dict(weight=torch.zeros(4)), 'size mismatch'),
        (dict(other=torch.zeros(3)), "lacks 1 weights of the detector, such as \\['weight'\\]"),
    ],
)
def test_checkpoint_of_another_model_is_refused(tmp_path, state, message):
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=f'(?s)other\\.pth.*{message}'):
        fixed(checkpoint=tmp_path / 'other.pth')([of_array()])


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(detector=dict(optimizer=3)), ValueError, "no model, only \\['optimizer'\\]"),
        (dict(detector=RETINANET), ValueError, 'no test pipeline'),
        (dict(detector=WHOLE, score_thr=2), ValueError, 'score_thr'),
        (dict(detector=WHOLE, max_per_img=0), ValueError, 'max_per_img'),
        (dict(detector='absent.py'), FileNotFoundError, 'no config absent.py'),
        (dict(detector='mmdet::absent.py'), FileNotFoundError, 'mmdet::absent.py'),
        (dict(detector='no_such_package::x.py'), FileNotFoundError, 'no_such_package'),
    ],
)
def test_bad_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        DetectorPrompter(**arguments)


def test_data_sample_without_an_image_is_refused():
    with pytest.raises(ValueError, match='needs img_path or ori_img'):
        fixed()([DetDataSample()])


def test_sync_batch_norm_of_a_detector_becomes_batch_norm():
    whole = copy.deepcopy(WHOLE)
    whole['model']['backbone']['norm_cfg'] = dict(type='SyncBN')
    prompter = DetectorPrompter(whole)
    assert not any(isinstance(part, nn.SyncBatchNorm) for part in prompter.modules())
    prompts = prompter([of_array()])[0]  # a SyncBN among several processes refuses the CPU
    assert prompts.bboxes.shape[1] == 4

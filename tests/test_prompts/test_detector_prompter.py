import copy

import mmcv
import pytest
import torch
from mmdet.structures import DetDataSample
from small_detectors import PIPELINE, RETINANET, WHOLE, fixed, of_array
from torch import nn

from mmovsam.prompts import DetectorPrompter


def test_array_is_seen_as_the_file_it_came_from(retinanet_file, tmp_path):
    mmcv.imwrite(of_array().get('ori_img'), str(tmp_path / 'image.png'))
    prompter = DetectorPrompter(WHOLE, retinanet_file)
    samples = [DetDataSample(metainfo=dict(img_path=str(tmp_path / 'image.png'))), of_array()]
    from_file, from_array = prompter(samples)
    assert len(from_file) > 3
    assert torch.equal(from_file.bboxes, from_array.bboxes)


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


def test_filter_counts_before_the_limits_of_its_own():
    rows = (0, 0, 9, 9, 0.9, 0), (0, 0, 9, 8, 0.8, 1), (0, 0, 3, 3, 0.7, 1), (9, 9, 30, 30, 0.01, 2)
    (prompts,) = fixed(*rows, filter=dict(nms_iou=0.5, min_size=4))([of_array()])
    assert prompts.labels.tolist() == [0]
    (prompts,) = fixed(*rows, filter=dict(score_thr=0, max_per_img=None))([of_array()])
    assert prompts.labels.tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ('result', 'message'),
    [
        (dict(columns=5), r'FixedDetector returns boxes of shape \(1, 5\), expected \(N, 4\)'),
        (
            dict(fields=('labels',)),
            'FixedDetector returns no pred_instances with bboxes and scores',
        ),
        (dict(fields=()), 'FixedDetector returns no pred_instances'),
    ],
)
def test_result_without_upright_boxes_is_refused(result, message):
    with pytest.raises(ValueError, match=message):
        fixed((0, 0, 5, 5, 0.9, 3), **result)([of_array()])


def test_image_that_the_data_set_reads_otherwise_is_refused():
    with pytest.raises(ValueError, match='as 60x40 pixels and the data set as 40x60.*color_type'):
        fixed()([of_array(40, 60, ori_shape=(60, 40))])


def test_image_that_the_pipeline_skips_is_named():
    pipeline = [dict(PIPELINE[0], ignore_empty=True), *PIPELINE[1:]]
    prompter = DetectorPrompter(dict(type='FixedDetector'), pipeline=pipeline)
    with pytest.raises(ValueError, match='gives nothing for the image absent.png'):
        prompter([DetDataSample(metainfo=dict(img_path='absent.png'))])


def test_order_of_images_is_kept():
    prompter = fixed((0, 0, 100, 100, 0.9, 0))
    sizes = [prompts.bboxes[0].tolist() for prompts in prompter([of_array(40, 60), of_array(7, 9)])]
    assert sizes == [[0, 0, 60, 40], [0, 0, 9, 7]]


def test_detector_is_frozen_and_stays_in_eval_mode():
    prompter = DetectorPrompter(WHOLE).train()
    assert prompter.training
    assert not any(module.training for module in prompter.detector.modules())
    assert not any(parameter.requires_grad for parameter in prompter.parameters())


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(detector=dict(optimizer=3)), ValueError, "no model, only \\['optimizer'\\]"),
        (dict(detector=RETINANET), ValueError, 'no test pipeline'),
        (dict(detector=WHOLE, score_thr=2), ValueError, 'score_thr'),
        (dict(detector=WHOLE, max_per_img=0), ValueError, 'max_per_img'),
        (dict(detector=WHOLE, filter=dict(iou=1)), ValueError, 'filter has no iou'),
        (dict(detector=WHOLE, classes=[]), ValueError, 'classes must be names'),
        (dict(detector='retinanet_r18'), ValueError, 'no model retinanet_r18 in its index'),
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


def test_boxes_of_a_detector_that_finds_masks_alone_are_those_of_the_masks():
    fields = ('bboxes', 'scores', 'masks')
    (prompts,) = fixed((0, 0, 0, 0, 0.9, 3), fields=fields)([of_array()])
    assert prompts.bboxes.tolist() == [[0, 0, 2, 2]] and prompts.labels is None

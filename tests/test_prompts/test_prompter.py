import pytest
import torch

from mmovsam.prompts import PromptFilter, Prompts

NAN = float('nan')


def boxes(*rows, scores=None):
    """Boxes with their place in the list as label."""
    return Prompts(bboxes=torch.tensor(rows).float(), labels=torch.arange(len(rows)), scores=scores)


def chosen(prompts, **settings):
    return PromptFilter(**settings)(prompts).labels.tolist()


SQUARES = [(10 * i, 0, 10 * i + 5, 5) for i in range(4)]


OVERLAP = [(0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 6)]  # IoU 0.9 and 0.6 with the first
POINTS = dict(point_coords=torch.ones(3, 1, 2), point_labels=torch.ones(3, 1), labels=range(3))
MIXED = Prompts(
    bboxes=[[0, 0, 9, 9], [NAN] * 4, [0, 0, 9, 9], [NAN] * 4],
    point_coords=torch.ones(4, 1, 2),
    point_labels=torch.ones(4, 1),
    labels=range(4),
)
ALL = dict(score_thr=0.25, min_size=2, nms_iou=0.5, max_per_img=2)


@pytest.mark.parametrize(
    'prompts, settings, kept',
    [
        # the best in their order, the first among equals
        (boxes(*SQUARES, scores=[0.5, 0.2, 0.9, 0.5]), dict(max_per_img=2), [0, 2]),
        (boxes(*SQUARES, scores=[0.5, 0.2, 0.9, 0.5]), dict(max_per_img=3), [0, 2, 3]),
        # a score at the threshold passes
        (boxes(*SQUARES, scores=[0.5, 0.25, 0.125, 0.75]), dict(score_thr=0.25), [0, 1, 3]),
        # the shorter side decides
        (boxes((0, 0, 4, 90), (0, 0, 90, 4), (0, 0, 5, 5)), dict(min_size=5), [2]),
        # one that overlaps a better one of another class is dropped
        (boxes(*OVERLAP, scores=[0.9, 0.8, 0.7]), dict(nms_iou=0.7), [0, 2]),
        (boxes(*OVERLAP, scores=[0.7, 0.9, 0.8]), dict(nms_iou=0.7), [1, 2]),
        (boxes(*OVERLAP), dict(nms_iou=0.7), [0, 2]),
        # what is dropped neither suppresses nor counts
        (
            boxes(*[OVERLAP[0]] * 2, OVERLAP[1], (20, 0, 30, 10), (0, 0, 1, 1),
                  scores=[0.125, 0.5, 0.25, 0.25, 1.0]),
            ALL,
            [1, 3],
        ),
        # prompts without a box pass what is about boxes
        (MIXED, dict(nms_iou=0.5), [0, 1, 3]),
        (MIXED, dict(min_size=10), [1, 3]),
        (Prompts(**POINTS, scores=[0.1, 0.9, 0.5]), dict(score_thr=0.3, min_size=50), [1, 2]),
        (Prompts(**POINTS, scores=[0.1, 0.9, 0.5]), dict(max_per_img=1), [1]),
        (Prompts(**POINTS), dict(score_thr=0.3, max_per_img=2), [0, 1]),
    ],
)  # fmt: skip
def test_a_filter_keeps(prompts, settings, kept):
    assert chosen(prompts, **settings) == kept
    assert PromptFilter()(prompts) is prompts
    assert len(PromptFilter(**settings)(Prompts.empty())) == 0


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(score_thr=1.5), 'score_thr must lie between 0 and 1, not 1.5'),
        (dict(nms_iou=-0.1), 'nms_iou must lie between 0 and 1'),
        (dict(max_per_img=0), 'max_per_img must be at least 1, not 0'),
        (dict(min_size=NAN), 'min_size must be at least 0'),
        (dict(topk=3), 'no topk; it has score_thr, max_per_img, nms_iou, min_size'),
    ],
)
def test_bad_setting_is_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        PromptFilter.from_cfg(cfg)

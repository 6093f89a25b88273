import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

from mmovsam.prompts import Prompter, PromptFilter, Prompts

NAN = float('nan')


def boxes(*rows, scores=None):
    """Boxes with their place in the list as label."""
    return Prompts(bboxes=torch.tensor(rows).float(), labels=torch.arange(len(rows)), scores=scores)


def chosen(prompts, **settings):
    return PromptFilter(**settings)(prompts).labels.tolist()


SQUARES = [(10 * i, 0, 10 * i + 5, 5) for i in range(4)]


def test_nothing_is_changed_by_default():
    prompts = boxes(*SQUARES)
    assert PromptFilter()(prompts) is prompts


def test_best_are_kept_in_their_order_and_the_first_among_equals():
    prompts = boxes(*SQUARES, scores=[0.5, 0.2, 0.9, 0.5])
    assert chosen(prompts, max_per_img=2) == [0, 2]
    assert chosen(prompts, max_per_img=3) == [0, 2, 3]


def test_score_at_the_threshold_passes():
    prompts = boxes(*SQUARES, scores=[0.5, 0.25, 0.125, 0.75])
    assert chosen(prompts, score_thr=0.25) == [0, 1, 3]


def test_shorter_side_decides_about_size():
    prompts = boxes((0, 0, 4, 90), (0, 0, 90, 4), (0, 0, 5, 5), (0, 0, 90, 90))
    assert chosen(prompts, min_size=5) == [2, 3]


def test_box_that_overlaps_a_better_one_of_another_class_is_dropped():
    overlap = [(0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 6)]  # IoU 0.9 and 0.6 with the first
    assert chosen(boxes(*overlap, scores=[0.9, 0.8, 0.7]), nms_iou=0.7) == [0, 2]
    assert chosen(boxes(*overlap, scores=[0.7, 0.9, 0.8]), nms_iou=0.7) == [1, 2]
    assert chosen(boxes(*overlap), nms_iou=0.7) == [0, 2], 'without scores the first is preferred'


@given(st.data(), st.floats(0, 1))
def test_suppression_agrees_with_the_definition(data, threshold):
    side = st.integers(1, 8)
    corners = data.draw(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), side, side)))
    rows = [(x, y, x + w, y + h) for x, y, w, h in corners]
    scores = [data.draw(st.sampled_from([0.25, 0.5, 0.75])) for _ in rows]
    prompts = Prompts(bboxes=rows, scores=scores, labels=range(len(rows)))

    def iou(a, b):
        width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
        areas = [(r[2] - r[0]) * (r[3] - r[1]) for r in (a, b)]
        return width * height / (sum(areas) - width * height)

    kept = []
    for i in sorted(range(len(rows)), key=lambda i: -scores[i]):
        overlaps = [iou(rows[i], rows[j]) for j in kept]
        if any(abs(overlap - threshold) < 1e-6 for overlap in overlaps):
            return  # rounding decides
        if all(overlap <= threshold for overlap in overlaps):
            kept.append(i)
    assert chosen(prompts, nms_iou=threshold) == sorted(kept)


def test_dropped_boxes_neither_suppress_nor_count():
    rows = [(0, 0, 10, 10), (0, 0, 10, 10), (0, 0, 10, 9), (20, 0, 30, 10), (0, 0, 1, 1)]
    prompts = boxes(*rows, scores=[0.125, 0.5, 0.25, 0.25, 1.0])
    assert chosen(prompts, score_thr=0.25, min_size=2, nms_iou=0.5, max_per_img=2) == [1, 3]


def test_prompts_without_a_box_pass_what_is_about_boxes():
    prompts = Prompts(
        bboxes=[[0, 0, 9, 9], [NAN] * 4, [0, 0, 9, 9], [NAN] * 4],
        point_coords=torch.ones(4, 1, 2),
        point_labels=torch.ones(4, 1),
        labels=range(4),
    )
    assert chosen(prompts, nms_iou=0.5) == [0, 1, 3]
    assert chosen(prompts, min_size=10) == [1, 3]


def test_points_have_scores_and_a_number_to_go_by():
    points = dict(point_coords=torch.ones(3, 1, 2), point_labels=torch.ones(3, 1), labels=range(3))
    scored = Prompts(**points, scores=[0.1, 0.9, 0.5])
    assert chosen(scored, score_thr=0.3, nms_iou=0.1, min_size=50) == [1, 2]
    assert chosen(scored, max_per_img=1) == [1]
    assert chosen(Prompts(**points), score_thr=0.3, max_per_img=2) == [0, 1]


def test_no_prompts_stay_none():
    settings = dict(score_thr=0.5, max_per_img=1, nms_iou=0.5, min_size=1)
    assert len(PromptFilter(**settings)(Prompts.empty())) == 0


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(score_thr=1.5), 'score_thr must lie between 0 and 1, got 1.5'),
        (dict(nms_iou=-0.1), 'nms_iou must lie between 0 and 1'),
        (dict(max_per_img=0), 'max_per_img must be at least 1, got 0'),
        (dict(min_size=NAN), 'min_size must be at least 0'),
        (dict(topk=3), 'no topk; it has score_thr, max_per_img, nms_iou, min_size'),
    ],
)
def test_bad_setting_is_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        PromptFilter.from_cfg(cfg)


@pytest.mark.parametrize('kind', ['GTPrompter', 'GridPrompter', 'FilePrompter'])
def test_every_prompter_takes_a_filter_and_has_no_classes_unless_told(kind):
    arguments = dict(file='absent.json') if kind == 'FilePrompter' else {}
    prompter = MODELS.build(dict(type=kind, filter=dict(max_per_img=3), **arguments))
    assert isinstance(prompter, Prompter)
    assert prompter.filter.max_per_img == 3
    assert prompter.classes is None


def test_filter_is_applied_to_each_image_alone():
    prompter = MODELS.build(
        dict(type='GridPrompter', points_per_side=2, filter=dict(max_per_img=3))
    )
    samples = [DetDataSample(metainfo=dict(ori_shape=shape)) for shape in ((8, 8), (4, 4))]
    first, second = prompter(samples)
    assert first.point_coords[:, 0].tolist() == [[1.5, 1.5], [5.5, 1.5], [1.5, 5.5]]
    assert second.point_coords[:, 0].tolist() == [[0.5, 0.5], [2.5, 0.5], [0.5, 2.5]]

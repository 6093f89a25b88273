"""The prompts of one image: fields, choice, scale and groups."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmovsam.prompts import Prompts

NAN, INF = float('nan'), float('inf')


def numbered_prompts(n):
    return Prompts(
        bboxes=torch.arange(4 * n).reshape(n, 4),
        point_coords=torch.arange(4 * n).reshape(n, 2, 2),
        point_labels=torch.ones(n, 2),
        mask_input=torch.arange(n).reshape(n, 1, 1, 1).expand(n, 1, 3, 5),
        labels=torch.arange(n),
        scores=torch.arange(n) / 10,
        annotated_bboxes=torch.arange(4 * n).reshape(n, 4) + 1,
    )


def test_empty_has_length_zero_and_fields_take_their_types():
    prompts = Prompts.empty()
    assert prompts.bboxes.shape == (0, 4) and list(prompts.groups()) == []
    assert len(prompts) == len(Prompts(bboxes=[])) == len(prompts.scaled((2, 2))) == 0
    lists = Prompts(bboxes=torch.zeros(1, 4).double(), labels=[3.0], scores=[1])
    assert lists.bboxes.dtype == lists.scores.dtype == torch.float32
    assert lists.labels.dtype == torch.int64


@given(n=st.integers(0, 6), data=st.data())
def test_indexing_takes_the_same_rows_of_every_field(n, data):
    prompts = numbered_prompts(n)
    bound = st.none() | st.integers(-8, 8)
    kinds = [
        st.builds(slice, bound, bound, st.none() | st.integers(1, 3)),
        st.lists(st.booleans(), min_size=n, max_size=n).map(
            lambda flags: torch.tensor(flags, dtype=torch.bool)
        ),
    ]
    if n:
        kinds.append(st.lists(st.integers(-n, n - 1), max_size=8))
        kinds.append(st.lists(st.integers(0, n - 1), max_size=8).map(torch.tensor))
    index = data.draw(st.one_of(kinds))
    chosen = prompts[index]
    if not isinstance(index, slice):
        index = torch.as_tensor(index)
        index = index.long() if n and not len(index) else index
    rows = torch.arange(n)[index]
    assert len(chosen) == len(rows)
    for field in dataclasses.fields(Prompts):
        values = getattr(prompts, field.name)
        assert torch.equal(getattr(chosen, field.name), values[rows]), field.name


@pytest.mark.parametrize(
    ('index', 'message'),
    [
        (3, 'prompt 3 of 3'),
        (-4, 'prompt -4 of 3'),
        ([5], 'out of bounds'),
        ([[0, 1]], r'not by \(1, 2\)'),
    ],
)
def test_an_integer_gives_a_set_of_one_and_none_out_of_range(index, message):
    prompts = numbered_prompts(3)
    assert [p.labels.item() for p in (prompts[1], prompts[-1], *prompts)] == [1, 2, 0, 1, 2]
    with pytest.raises(IndexError, match=message):
        numbered_prompts(3)[index]


def test_scaled_multiplies_boxes_and_points_and_nothing_else():
    prompts = Prompts(
        bboxes=[[0, 0, 4, 4], [NAN] * 4],
        point_coords=[[[0, 0]], [[3, 5]]],
        point_labels=[[-1], [1]],
        labels=[7, 8],
    )
    scaled = prompts.scaled((2, 10))
    assert scaled.bboxes[0].tolist() == [0, 0, 8, 40] and scaled.bboxes[1].isnan().all()
    assert scaled.point_coords[1].tolist() == [[6, 50]] and scaled.labels is prompts.labels
    assert numbered_prompts(2).scaled((2, 10)).annotated_bboxes[0].tolist() == [2, 20, 6, 40]
    assert prompts.bboxes[0].tolist() == [0, 0, 4, 4]
    for scale in ((1,), (1, 0), (1, -1), (1, NAN), (1, 2, 3)):
        with pytest.raises(ValueError, match='two positive numbers'):
            prompts.scaled(scale)


def test_groups_leave_no_prompt_what_it_would_not_have_alone():
    masks = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 1, 2, 2).clone()
    masks[:2] = NAN
    prompts = Prompts(
        point_coords=[[[n, i] for i in range(3)] for n in range(5)],
        point_labels=[[-1, 1, 0], [0, -1, -1], [1, 1, -1], [1, 0, -1], [-1, -1, -1]],
        mask_input=masks,
    )
    assert prompts.num_points.tolist() == [2, 1, 2, 2, 0]
    assert prompts.has_mask.tolist() == [False, False, True, True, True]
    groups = {tuple(indices.tolist()): group for indices, group in prompts.groups()}
    assert set(groups) == {(0,), (1,), (2, 3), (4,)}
    assert groups[0,].point_coords.tolist() == [[[0, 1], [0, 2]]]
    assert groups[0,].point_labels.tolist() == [[1, 0]] and groups[0,].mask_input is None
    assert groups[1,].point_coords.tolist() == [[[1, 0]]]
    assert groups[2, 3].point_labels.tolist() == [[1, 1], [1, 0]]
    assert groups[2, 3].mask_input[:, 0, 0, 0].tolist() == [2, 3]
    assert groups[4,].point_coords is None and groups[4,].mask_input[0, 0, 0, 0] == 4


@pytest.mark.parametrize(
    ('fields', 'error', 'message'),
    [
        (dict(labels=[1]), ValueError, 'need bboxes, points or mask_input'),
        (dict(bboxes=[1, 2, 3, 4]), ValueError, r'bboxes has shape \(4,\), expected \(N, 4\)'),
        (dict(bboxes=[[1, 2, 3]]), ValueError, r'bboxes has shape \(1, 3\), expected \(N, 4\)'),
        (dict(bboxes=[[1, 2, 3, NAN]]), ValueError, 'expected finite numbers'),
        (dict(bboxes=[[1, 2, 3, INF]]), ValueError, 'expected finite numbers'),
        (dict(bboxes=[[1, 2, 3, 4]], labels=[1, 2]), ValueError, "disagree.*1, 'labels': 2"),
        (dict(point_coords=[[[1, 2]]]), ValueError, 'together'),
        (dict(point_labels=[[1]]), ValueError, 'together'),
        (dict(point_coords=[[[1, 2]]], point_labels=[[1, 0]]), ValueError, r'expected \(1, 1\)'),
        (dict(point_coords=[[[1, 2]]], point_labels=[[2]]), ValueError, r'holds \[2\]'),
        (dict(mask_input=torch.zeros(1, 2, 4, 4)), ValueError, 'mask_input has shape'),
        (dict(mask_input=[[[[0.0]]], [[[INF]]]]), ValueError, 'of prompt 1 holds infinity'),
        (dict(mask_input=[[[[0.0, NAN]]]]), ValueError, 'prompt 0 .* NaN in part'),
        (dict(bboxes='box'), TypeError, r'Prompts\.bboxes must be a tensor'),
        (dict(bboxes=[['a', 'b', 'c', 'd']]), TypeError, r'Prompts\.bboxes must be a tensor'),
    ],
)
def test_bad_prompts_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        Prompts(**fields)

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmovsam.prompts import Prompts

NAN = float('nan')


def mixed_prompts():
    """A box, a point, both, and neither."""
    return Prompts(
        bboxes=[[0, 0, 4, 4], [NAN] * 4, [1, 1, 2, 2], [NAN] * 4],
        point_coords=[[[0, 0]], [[3, 5]], [[1, 1]], [[0, 0]]],
        point_labels=[[-1], [1], [0], [-1]],
        labels=[7, 8, 9, 10],
        scores=[0.1, 0.2, 0.3, 0.4],
    )


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


def test_fields_take_their_types_whatever_they_came_as():
    prompts = Prompts(
        bboxes=torch.zeros(1, 4, dtype=torch.float64),
        point_coords=[[[1, 2]]],
        point_labels=[[1.0]],
        labels=[3],
        scores=[1],
    )
    assert prompts.bboxes.dtype == prompts.point_coords.dtype == torch.float32
    assert prompts.scores.dtype == torch.float32
    assert prompts.labels.dtype == prompts.point_labels.dtype == torch.int64


def test_empty_has_length_zero_and_no_group():
    prompts = Prompts.empty()
    assert len(prompts) == 0
    assert prompts.bboxes.shape == (0, 4)
    assert list(prompts.groups()) == []
    assert len(Prompts(bboxes=[])) == 0
    assert len(prompts.scaled((2, 2))) == 0


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
    if isinstance(index, list):
        index = torch.tensor(index, dtype=torch.int64)
    elif not isinstance(index, slice) and len(index) == 0:
        index = index.bool() if n == 0 else index.long()
    rows = torch.arange(n)[index]
    assert len(chosen) == len(rows)
    assert chosen.labels.tolist() == rows.tolist()
    assert torch.equal(chosen.bboxes, prompts.bboxes[rows])
    assert torch.equal(chosen.point_coords, prompts.point_coords[rows])
    assert torch.equal(chosen.mask_input, prompts.mask_input[rows])
    assert torch.equal(chosen.scores, prompts.scores[rows])
    assert torch.equal(chosen.annotated_bboxes, prompts.annotated_bboxes[rows])


def test_integer_index_gives_a_set_of_one():
    prompts = numbered_prompts(3)
    assert prompts[1].labels.tolist() == [1]
    assert prompts[-1].labels.tolist() == [2]
    assert [p.labels.item() for p in prompts] == [0, 1, 2]


@pytest.mark.parametrize('index', [3, -4, [5]])
def test_index_out_of_range_is_refused(index):
    with pytest.raises(IndexError):
        numbered_prompts(3)[index]


def test_scaled_multiplies_boxes_and_points_and_nothing_else():
    prompts = mixed_prompts()
    scaled = prompts.scaled((2, 10))
    assert scaled.bboxes[0].tolist() == [0, 0, 8, 40]
    assert scaled.bboxes[1].isnan().all()
    assert scaled.point_coords[1].tolist() == [[6, 50]]
    assert scaled.labels is prompts.labels
    assert numbered_prompts(2).scaled((2, 10)).annotated_bboxes[0].tolist() == [2, 20, 6, 40]
    assert prompts.bboxes[0].tolist() == [0, 0, 4, 4]


@pytest.mark.parametrize('scale', [(1,), (1, 0), (1, -1), (1, NAN), (1, 2, 3)])
def test_scale_that_is_not_two_positive_numbers_is_refused(scale):
    with pytest.raises(ValueError, match='two positive numbers'):
        mixed_prompts().scaled(scale)


def test_groups_are_homogeneous_and_cover_every_prompt_once():
    groups = list(mixed_prompts().groups())
    assert [indices.tolist() for indices, _ in groups] == [[0], [1], [2], [3]]
    box, point, both, neither = (group for _, group in groups)
    assert box.point_coords is None and box.bboxes.tolist() == [[0, 0, 4, 4]]
    assert point.bboxes is None and point.point_coords.tolist() == [[[3, 5]]]
    assert both.bboxes.tolist() == [[1, 1, 2, 2]] and both.point_labels.tolist() == [[0]]
    assert neither.bboxes is None and neither.point_labels.tolist() == [[-1]]
    assert [group.labels.item() for _, group in groups] == [7, 8, 9, 10]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_groups_of_any_mix_partition_the_prompts(kinds):
    prompts = Prompts(
        bboxes=[[1, 2, 3, 4] if box else [NAN] * 4 for box, _ in kinds],
        point_coords=[[[5, 6]] for _ in kinds],
        point_labels=[[1 if point else -1] for _, point in kinds],
    )
    seen = []
    for indices, group in prompts.groups():
        seen += indices.tolist()
        assert len(group) == len(indices)
        for i in indices.tolist():
            box, point = kinds[i]
            assert (group.bboxes is not None) == box
            assert (group.point_labels is not None and (group.point_labels > 0).all()) == point
        if group.bboxes is not None:
            assert not group.bboxes.isnan().any()
    assert sorted(seen) == list(range(len(kinds)))


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
    ('fields', 'message'),
    [
        (dict(), 'need bboxes, points or mask_input'),
        (dict(labels=[1]), 'need bboxes, points or mask_input'),
        (dict(bboxes=[1, 2, 3, 4]), r'bboxes has shape \(4,\), expected \(N, 4\)'),
        (dict(bboxes=[[1, 2, 3]]), r'bboxes has shape \(1, 3\), expected \(N, 4\)'),
        (dict(bboxes=[[1, 2, 3, NAN]]), 'expected finite numbers'),
        (dict(bboxes=[[1, 2, 3, float('inf')]]), 'expected finite numbers'),
        (dict(bboxes=[[1, 2, 3, 4]], labels=[1, 2]), "disagree.*'bboxes': 1, 'labels': 2"),
        (dict(point_coords=[[[1, 2]]]), 'together'),
        (dict(point_labels=[[1]]), 'together'),
        (dict(point_coords=[[[1, 2]]], point_labels=[[1, 0]]), r'expected \(1, 1\)'),
        (dict(point_coords=[[[1, 2]]], point_labels=[[2]]), r'holds \[2\]'),
        (dict(mask_input=torch.zeros(1, 2, 4, 4)), 'mask_input has shape'),
        (dict(mask_input=[[[[0.0]]], [[[float('inf')]]]]), 'mask_input of prompt 1 holds infinity'),
        (dict(mask_input=[[[[0.0, NAN]]]]), 'prompt 0 .* NaN in part'),
    ],
)
def test_bad_prompts_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Prompts(**fields)


@pytest.mark.parametrize('bboxes', ['box', [['a', 'b', 'c', 'd']], {}])
def test_prompts_that_are_no_numbers_are_refused(bboxes):
    with pytest.raises(TypeError, match=r'Prompts\.bboxes must be a tensor'):
        Prompts(bboxes=bboxes)


def test_an_index_that_is_no_list_is_refused_with_its_shape():
    prompts = Prompts(bboxes=torch.zeros(3, 4))
    with pytest.raises(IndexError, match=r'not by \(1, 2\)'):
        prompts[[[0, 1]]]

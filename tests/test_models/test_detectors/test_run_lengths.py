"""Run lengths made from logits are those of whole masks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmovsam.layers.bboxes import masks_to_bboxes
from mmovsam.models.detectors.run_lengths import bboxes_of_runs, encode_logits

SIDE = st.integers(1, 70)
ROUNDING = 1e-5
"""A pixel with a value nearer to 0 may be inside by one order of summation and not by another."""


def blobs(num, side, seed, share):
    """Logits that are above 0 in a box here and there, and rough."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num, 1, side, side, generator=generator)
    for mask in logits[:, 0]:
        x, y = torch.randint(side, (2,), generator=generator).tolist()
        reach = max(1, round(side * share))
        inside = mask[y : y + reach, x : x + reach].clone()
        mask.abs_().neg_()
        mask[y : y + reach, x : x + reach] = inside + 1
    return logits


def encode(masks):
    """Masks `(N, H, W)` as pycocotools encodes them."""
    return [coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks]


def check(logits, input_size, img_shape, ori_shape):
    """Compare mask by mask, as in inference on a CPU, and all at once with the definition."""
    for together in (False, True):
        with torch.set_grad_enabled(together):
            found = encode_logits(logits, input_size, img_shape, ori_shape)
        check_found(found, logits.float(), input_size, img_shape[:2], ori_shape[:2])


def check_found(found, logits, input_size, img_shape, ori_shape):
    """Two resizes, a threshold, and pycocotools' encoding."""
    enlarged = F.interpolate(logits, (input_size, input_size), mode='bilinear')
    enlarged = enlarged[..., : img_shape[0], : img_shape[1]]
    enlarged = F.interpolate(enlarged, ori_shape, mode='bilinear')[:, 0]
    masks = torch.from_numpy(coco_mask.decode(found)).permute(2, 0, 1).bool()
    assert masks.shape == enlarged.shape
    assert (enlarged[masks != (enlarged > 0)].abs() < ROUNDING).all()
    assert found == encode(masks)
    assert torch.equal(bboxes_of_runs(found), masks_to_bboxes(masks).float())


@given(
    side=st.sampled_from([4, 8, 16]),
    img_shape=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    ori_shape=st.tuples(SIDE, SIDE),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**31),
)
@example(side=16, img_shape=(64, 64), ori_shape=(64, 64), share=1.0, seed=0)
@example(side=16, img_shape=(1, 64), ori_shape=(1, 200), share=1.0, seed=0)
@example(side=16, img_shape=(64, 3), ori_shape=(300, 14), share=1.0, seed=1)
def test_runs_are_those_of_masks_that_are_enlarged_whole(side, img_shape, ori_shape, share, seed):
    logits = blobs(4, side, seed, share)
    check(logits, 64, img_shape, ori_shape)


@pytest.mark.parametrize(
    'img_shape, ori_shape', [((768, 1024), (1500, 2000)), ((1023, 517), (99, 50))]
)
def test_runs_at_the_size_of_the_full_model(img_shape, ori_shape):
    logits = torch.cat((blobs(3, 256, 0, 0.4), torch.ones(1, 1, 256, 256)))
    check(logits, 1024, img_shape, ori_shape)


EMPTY = torch.full((1, 1, 8, 8), -1.0)


def with_box(*places):
    logits = EMPTY.clone()
    for rows, columns in places:
        logits[..., rows, columns] = 1
    return logits


@pytest.mark.parametrize(
    'logits',
    [
        *(torch.full((2, 1, 8, 8), value) for value in (-1.0, 0.0, 1.0)),
        # a column beside which a mask reaches the upper, no, and the lower edge
        *(
            with_box((slice(*rows), slice(2, 6)), (slice(None), 4))
            for rows in ((0, 3), (3, 5), (5, 8))
        ),
        with_box((slice(None), slice(6, None))),  # in the padding alone
        blobs(2, 8, 0, 0.5).to(torch.bfloat16),
    ],
)
def test_runs_of_masks_that_are_empty_or_full_or_reach_an_edge(logits):
    with torch.autocast('cpu', torch.bfloat16, enabled=logits.dtype == torch.bfloat16):
        check(logits, 32, (32, 20, 3), (40, 25, 3))


def test_no_logits_make_no_runs_and_no_boxes():
    assert encode_logits(EMPTY[:0], 32, (32, 32), (5, 5)) == []
    assert bboxes_of_runs([]).shape == (0, 4)

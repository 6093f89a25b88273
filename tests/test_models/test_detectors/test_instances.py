"""From logits to masks and boxes in the image's frame."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.mask import decode

from mmovsam.layers.bboxes import masks_to_bboxes
from mmovsam.models.detectors import instances
from mmovsam.models.detectors.instances import MaskWriter, enlarge_logits, stability_scores

SIDES = st.integers(1, 12)


@given(height=SIDES, width=SIDES, num=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_boxes_of_masks_equal_those_of_their_pixels(height, width, num, seed):
    random = np.random.default_rng(seed)
    masks = random.random((num, height, width)) < random.random()
    bboxes = masks_to_bboxes(torch.from_numpy(masks))
    assert bboxes.shape == (num, 4)
    for mask, bbox in zip(masks, bboxes.tolist()):
        ys, xs = mask.nonzero()
        want = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [0, 0, 0, 0]
        assert bbox == want


@given(
    side=st.sampled_from([4, 8]),
    shape=st.tuples(st.integers(1, 32), st.integers(1, 32)),
    final=st.none() | st.tuples(st.integers(1, 50), st.integers(1, 50)),
    num=st.integers(0, 5),
    seed=st.integers(0, 2**31),
)
def test_masks_are_resized_cropped_and_resized_again(side, shape, final, num, seed):
    logits = torch.randn(num, 1, side, side, generator=torch.Generator().manual_seed(seed))
    enlarged = torch.cat(
        [torch.zeros(0, *(final or shape)), *enlarge_logits(logits, 32, shape, final)]
    )
    masks = enlarged > 0
    assert masks.shape == (num, *(final or shape))
    if num:
        want = F.interpolate(logits, (32, 32), mode='bilinear')[..., : shape[0], : shape[1]]
        want = F.interpolate(want, final or shape, mode='bilinear')[:, 0]
        clear = want.abs() > 1e-5  # what is next to zero may fall on either side
        assert torch.equal(masks[clear], (want > 0)[clear])


@pytest.mark.parametrize('rescale', [True, False])
def test_masks_are_written_alike_as_tensor_and_as_runs_whatever_the_chunks(monkeypatch, rescale):
    monkeypatch.setattr(instances, 'PIXELS_AT_ONCE', 64 * 64 * 2)
    logits = torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    logits[3] = -1  # an empty mask
    metainfo = dict(img_shape=(40, 64), ori_shape=(50, 80, 3))
    written = {}
    for mask_format, step in (('tensor', 7), ('tensor', 3), ('rle', 5)):
        writer = MaskWriter(7, metainfo, 64, rescale, mask_format)
        bboxes = torch.cat([writer.add(part) for part in logits.split(step)])
        written[mask_format, step] = bboxes, writer.masks
    bboxes, masks = written['tensor', 7]
    assert masks.shape == ((7, 50, 80) if rescale else (7, 40, 64)) and not masks[3].any()
    assert torch.equal(bboxes, masks_to_bboxes(masks).float())
    assert torch.equal(written['tensor', 3][1], masks)
    decoded = decode(written['rle', 5][1]).transpose(2, 0, 1)
    assert torch.equal(torch.from_numpy(decoded).bool(), masks)
    assert all(torch.equal(other, bboxes) for other, _ in written.values())
    for mask_format in ('tensor', 'rle'):
        writer = MaskWriter(0, metainfo, 64, rescale, mask_format)
        assert writer.add(logits[:0]).shape == (0, 4) and len(writer.masks) == 0


def test_stability_is_the_share_of_a_mask_that_two_thresholds_agree_about():
    logits = torch.full((4, 1, 8, 8), -5.0)
    logits[0, 0, :4, :4] = 0.5  # inside, but not by much
    logits[0, 0, :2, :4] = 3
    logits[1, 0, :4, :4] = 3
    logits[2, 0, 0, 0] = -0.5
    logits[3, 0, 4:] = 3  # all of it in the padding
    scores = stability_scores(logits, 64, (32, 64, 3))
    assert scores.tolist() == [0.5, 1, 0, 0] and scores.dtype == torch.float32
    assert stability_scores(logits, 64, (64, 64))[3] == 1
    assert stability_scores(logits, 64, (32, 64), offset=0.25)[0] == 1
    assert stability_scores(logits, 64, (33, 64))[3] == 1  # a row of logits begins in the image
    assert stability_scores(logits[:0], 64, (32, 64)).shape == (0,)

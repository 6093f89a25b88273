"""What masks of prompts learn."""

import pytest
import torch

from mmovsam.photos.losses import WINDOW, interaction_loss, mask_losses, windows_of


def targets():
    masks = torch.zeros(2, 32, 32)
    masks[0, 4:12, 6:20] = masks[1, 20:30, 2:9] = 1
    bboxes = torch.tensor([[6.0, 4, 20, 12], [2, 20, 9, 30]]) * 2
    return masks, windows_of(bboxes, 32, 2.0)


def logits_of(masks, value=12.0):
    return torch.where(masks > 0.5, value, -value)


def test_windows_add_up_to_one_and_are_around_the_boxes():
    (window,) = windows_of(torch.tensor([[16.0, 20.0, 36.0, 32.0]]), 64, 1.0)
    assert window.sum().item() == pytest.approx(1)
    rows, columns = window.any(1).nonzero()[:, 0], window.any(0).nonzero()[:, 0]
    # a place is in the window if its center is
    across, down = 20 * WINDOW + 4, 12 * WINDOW + 4
    assert columns[[0, -1]].tolist() == [round(16 - across), round(36 + across) - 1]
    assert rows[[0, -1]].tolist() == [round(20 - down), round(32 + down) - 1]
    assert window[window > 0].unique().numel() == 1


def test_loss_of_a_right_mask_is_nothing_and_grows_with_what_is_wrong():
    masks, windows = targets()
    right = logits_of(masks)
    some, all_wrong = right.clone(), -right
    some[:, :8] *= -1
    losses = mask_losses(torch.stack((right, some, all_wrong), dim=1), masks, windows)
    assert losses.shape == (2, 3)
    assert losses[:, 0].max() < 1e-3
    assert (losses.diff(dim=1) > 0.5).all()

    near, far = right[:1].clone(), right[:1].clone()  # where errors cost more, and less
    near[0, 13, 6:10] = far[0, 30, 26:30] = 12.0
    losses = mask_losses(torch.stack((near, far), dim=1), masks[:1], windows[:1])[0]
    assert losses[0] > losses[1] + 0.1


@pytest.mark.parametrize('with_box', [False, True])
def test_first_mask_and_the_best_of_the_others_learn_most(with_box):
    masks, windows = targets()
    logits = torch.zeros(2, 4, 32, 32)
    logits[:, 2] = 0.3 * logits_of(masks, 1.0)  # a little better
    logits.requires_grad_()
    losses = interaction_loss(logits, torch.zeros(2, 4), masks, windows, torch.full((2,), with_box))
    losses.sum().backward()
    sizes = logits.grad.abs().sum((0, 2, 3))
    assert (sizes > 0).all()
    assert min(sizes[0], sizes[2]) > 5 * max(sizes[1], sizes[3])
    assert (sizes[0] > sizes[2]) == with_box

"""Training of the window refiner."""

import pytest
import tiny_photo
import torch

from mmovsam.models.heads import WindowPrompts
from mmovsam.photos.refinement import (
    RefinementTrainer,
    first_points,
    next_points,
    targets_of,
    window_losses,
)

SEED = 11
SIZE = tiny_photo.SIZE


def generator():
    return torch.Generator().manual_seed(SEED)


def masks_and_windows():
    masks = torch.zeros(3, SIZE, SIZE)
    masks[0, 40:72, 32:80] = masks[1, 10:20, 100:128] = masks[2, 60:120, 60:120] = 1
    windows = torch.tensor([[24.0, 24, 88, 88], [90, -10, 140, 40], [80, 80, 96, 96]])
    return masks, windows


def in_windows(points, windows):
    """Positions of points `(N, 1, 2)` on grids of 64: columns and rows."""
    extent = windows[:, 2:] - windows[:, :2]
    return ((points[:, 0] + 0.5 - windows[:, :2]) / extent * 64).long().unbind(1)


def test_targets_are_the_share_of_each_position_inside():
    masks, windows = masks_and_windows()
    targets = targets_of(masks, windows)
    assert targets.shape == (3, 1, 64, 64)
    # the first window has a position for each pixel
    want = torch.zeros(64, 64)
    want[16:48, 8:56] = 1
    assert torch.allclose(targets[0, 0], want, atol=0.26)  # bilinear at the edges
    middle = torch.nn.functional.avg_pool2d(want[None], 3, 1, 1)[0]
    flat = (middle == 0) | (middle == 1)
    assert torch.equal(targets[0, 0][flat], want[flat])
    areas = targets.sum((1, 2, 3)) * (windows[:, 2:] - windows[:, :2]).prod(1) / 64**2
    assert areas.tolist() == pytest.approx([32 * 48, 10 * 28, 16 * 16], rel=0.03)


def test_losses_are_nothing_for_right_masks_and_know_what_is_outside():
    masks, windows = masks_and_windows()
    right = torch.where(targets_of(masks, windows) > 0.5, 12.0, -12.0)
    losses, ious = window_losses(right, torch.ones(3), windows, masks)
    # half of a soft edge is wrong whatever is said
    assert ious[:2].min() > 0.97 and losses[:2].max() < 0.4
    # the third window shows a small part of its object
    assert ious[2].item() == pytest.approx(16 * 16 / 60**2, rel=0.02)
    wrong, none = window_losses(-right, torch.ones(3), windows, masks)
    assert (wrong > losses + 1).all() and none.max() < 0.05


def test_first_points_are_inside_or_padding():
    print('seed', SEED)
    masks, _ = masks_and_windows()
    wanted = torch.tensor([True, False, True])
    random = generator()
    for _ in range(20):
        points, labels = first_points(masks, wanted, random)
        assert labels[:, 0].tolist() == [1, -1, 1]
        x, y = points[:, 0].round().long().unbind(1)
        assert masks[torch.arange(3), y, x].tolist() == [1, 1, 1]


def test_next_points_are_inside_of_what_is_wrong():
    print('seed', SEED)
    masks, windows = masks_and_windows()
    masks, windows = masks[[0, 0, 0]], windows[[0, 0, 0]]
    wanted = targets_of(masks, windows)[:, 0] > 0.5
    found = wanted.clone()
    found[0, 16:30] = False  # something is missing
    found[1, :14, 20:60] = True  # too much
    logits = torch.where(found, 3.0, -3.0)[:, None]
    random = generator()
    for _ in range(20):
        points, labels = next_points(logits, windows, masks, random)
        assert labels[:, 0].tolist() == [1, 0, 1]
        x, y = in_windows(points, windows)
        where = torch.arange(3)
        assert (found ^ wanted)[where, y, x].tolist() == [True, True, False]
        assert wanted[where, y, x].tolist() == [True, False, True]


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    tiny_photo.set_canvas(monkeypatch)
    data = tiny_photo.photo_data(tmp_path, shapes=((90, 120), (128, 100), (80, 128)))
    model = tiny_photo.build(refiner=tiny_photo.REFINER)
    return RefinementTrainer(model, data, steps=4, batch_size=2, warmup=1, seed=SEED)


def test_only_the_refiner_learns(trainer):
    print('seed', SEED)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for _ in range(2):
        losses = trainer.update(0.0)
        assert all(value.isfinite() for value in losses.values())
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith('refiner.'), name


@torch.no_grad()
def test_objects_of_several_images_are_refined_as_those_of_each(trainer):
    model = trainer.model
    features = model.extract_window_feat(torch.randn(3, 3, SIZE, SIZE, generator=generator()))
    image_index = torch.tensor([0, 0, 2])
    prompts = WindowPrompts(
        torch.tensor([[10.0, 10, 60, 50], [30, 70, 90, 100], [5, 5, 100, 100]]),
        torch.tensor([True, False, True]),
        torch.tensor([[[20.0, 30]], [[50, 80]], [[9, 9]]]),
        torch.tensor([[1], [0], [-1]]),
        torch.randn(3, 1, 64, 64, generator=generator()),
    )
    got = trainer._refine(features, image_index, prompts)
    for i, place in enumerate(image_index.tolist()):
        own = WindowPrompts(*(part[i : i + 1] for part in prompts))
        for ours, want in zip(got, model.refine(features.image(place), own)):
            assert torch.allclose(ours[i : i + 1], want, atol=1e-4)


@pytest.mark.parametrize('again', [False, True])
def test_photographs_without_masks_teach_nothing(trainer, again, monkeypatch):
    monkeypatch.setattr('mmovsam.photos.refinement.SECOND_SHARE', 1.0 if again else 0.0)
    trainer.data.has_mask[:] = False
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.update(0.0)
    for name, value in trainer.model.state_dict().items():
        assert torch.allclose(value, before[name], rtol=1e-3, atol=1e-6), name

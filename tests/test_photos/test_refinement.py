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
        x, y = points[wanted, 0].round().long().unbind(1)
        assert masks[wanted][torch.arange(2), y, x].tolist() == [1, 1]


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
def make_trainer(tmp_path, monkeypatch):
    tiny_photo.set_canvas(monkeypatch)
    data = tiny_photo.photo_data(tmp_path, shapes=((90, 120), (128, 100), (80, 128)))

    def make(**settings):
        model = tiny_photo.build(refiner=tiny_photo.REFINER)
        settings = dict(views=8, reuse=2) | settings
        return RefinementTrainer(
            model, data, steps=8, batch_size=4, warmup=1, seed=SEED, **settings
        )

    return make


def test_only_the_refiner_learns(make_trainer):
    print('seed', SEED)
    trainer = make_trainer()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for _ in range(2):
        losses = trainer.update(0.0)
        assert all(value.isfinite() for value in losses.values())
    for name, value in trainer.model.state_dict().items():
        learns = name.startswith('refiner.') and not name.endswith(('.mean', '.std'))
        assert torch.equal(value, before[name]) != learns, name


@torch.no_grad()
def test_objects_of_several_images_are_refined_as_those_of_each(make_trainer):
    trainer = make_trainer()
    trainer._encode()
    views = [view for view in trainer.views if len(view.masks)]
    assert len(views) > 1
    prompts = WindowPrompts(*map(torch.cat, zip(*(view.prompts for view in views))))
    got = trainer._refine(views, prompts)
    wants = [trainer.model.refine(view.features, view.prompts) for view in views]
    for ours, want in zip(got, zip(*wants)):
        assert torch.allclose(ours, torch.cat(want), atol=1e-4)


def test_views_have_what_the_decoder_was_given_and_gave(make_trainer):
    print('seed', SEED)
    trainer = make_trainer()
    trainer._encode()
    for view in trainer.views:
        prompts, count = view.prompts, len(view.masks)
        assert view.masks.shape == (count, SIZE, SIZE) and view.masks.dtype == torch.uint8
        given, labels = prompts.given, prompts.labels[:, 0]
        assert torch.equal(labels == 1, ~given) and set(labels.tolist()) <= {1, -1}
        assert prompts.previous.shape == (count, 1, 128, 128) and prompts.previous.any()
        # a point is inside of its mask, and of the box that is looked at
        x, y = prompts.points[~given, 0].round().long().unbind(1)
        assert (view.masks[~given][torch.arange(len(x)), y, x] > 100).all()
        low, high = prompts.bboxes[~given].split(2, dim=1)
        assert ((prompts.points[~given, 0] >= low) & (prompts.points[~given, 0] <= high)).all()


def test_views_are_drawn_again_and_then_replaced(make_trainer):
    trainer = make_trainer(views=8, reuse=2)
    seen = []
    for step in range(8):
        trainer.step = step
        trainer._encode()
        seen.append([id(view.masks) for view in trainer.views])
    assert len(seen[0]) == 8 and all(len(each) == 8 for each in seen)
    # of four views at a time, each four are new in every second step
    assert seen[0] == seen[1] and seen[2][:4] == seen[1][4:] and seen[2] != seen[1]


def test_refinement_goes_on_exactly_where_it_was(make_trainer, tmp_path):
    print('seed', SEED)
    whole, first, second = (make_trainer() for _ in range(3))
    first.begin(), whole.begin()
    for _ in range(5):
        whole.update(0.1)
    for _ in range(3):
        first.update(0.1)
    first.save(tmp_path / 'state.pth')
    second.resume(tmp_path / 'state.pth')
    for _ in range(2):
        second.update(0.1)
    for (name, want), got in zip(
        whole.model.state_dict().items(), second.model.state_dict().values()
    ):
        assert torch.equal(want, got), name


@torch.no_grad()
def test_calibration_makes_what_is_read_alike(make_trainer):
    trainer = make_trainer()
    trainer.begin()
    before = [conv.std.clone() for conv in trainer.model.refiner.inputs]
    trainer.views.clear()
    trainer.begin()  # was done
    for conv in trainer.model.refiner.inputs:
        assert not torch.equal(conv.std, torch.ones_like(conv.std)) and (conv.std > 0).all()
    for std, one, other in zip(
        before, trainer.model.refiner.inputs, trainer.averaged.refiner.inputs
    ):
        assert torch.equal(one.std, std)
        assert torch.equal(one.mean, other.mean) and torch.equal(one.std, other.std)


@pytest.mark.parametrize('again', [False, True])
def test_photographs_without_masks_teach_nothing(make_trainer, again, monkeypatch):
    monkeypatch.setattr('mmovsam.photos.refinement.SECOND_SHARE', 1.0 if again else 0.0)
    trainer = make_trainer()
    trainer.data.has_mask[:] = False
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.update(0.0)
    for name, value in trainer.model.state_dict().items():
        assert torch.allclose(value, before[name], rtol=1e-3, atol=1e-6), name

"""Training of the window decoder, and the maps that it is trained on."""

from functools import partial

import pytest
import tiny_photo
import torch
from tqdm import tqdm

from mmovsam.models.heads.mask_ranker import MaskRanker
from mmovsam.photos import evaluate_masks
from mmovsam.photos.augmentation import make_batch
from mmovsam.photos.augmentation import test_transforms as as_in_a_test
from mmovsam.photos.crop_training import CropTrainer
from mmovsam.photos.encoded import EncodedPhotos
from mmovsam.photos.ranking import Candidates, draw_candidates, train_ranker
from mmovsam.photos.window_training import (
    Targets,
    WindowTrainer,
    first_points,
    next_points,
    window_losses,
)

SEED = 11
SIZE = tiny_photo.SIZE


def generator():
    return torch.Generator().manual_seed(SEED)


@pytest.fixture(autouse=True)
def small_canvas(monkeypatch):
    print('seed', SEED)
    tiny_photo.set_canvas(monkeypatch)


def targets_and_windows():
    masks = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    masks[0, 40:72, 32:80] = masks[1, 10:20, 100:128] = masks[2, 60:120, 60:120] = 1
    windows = torch.tensor([[24.0, 24, 88, 88], [90, -10, 140, 40], [80, 80, 96, 96]])
    return Targets(masks, torch.tensor([[1.0, 1, 0, 0]]).repeat(3, 1)), windows


def in_windows(points, windows):
    """Positions of points `(N, 1, 2)` on grids of 64: columns and rows."""
    extent = windows[:, 2:] - windows[:, :2]
    return ((points[:, 0] + 0.5 - windows[:, :2]) / extent * 64).long().unbind(1)


def test_targets_are_the_share_of_each_position_inside():
    targets, windows = targets_and_windows()
    shares = targets.in_windows(windows)
    assert shares.shape == (3, 1, 64, 64)
    # the first window has a position for each pixel
    want = torch.zeros(64, 64)
    want[16:48, 8:56] = 1
    assert torch.allclose(shares[0, 0], want, atol=0.26)  # bilinear at the edges
    middle = torch.nn.functional.avg_pool2d(want[None], 3, 1, 1)[0]
    flat = (middle == 0) | (middle == 1)
    assert torch.equal(shares[0, 0][flat], want[flat])
    areas = shares.sum((1, 2, 3)) * (windows[:, 2:] - windows[:, :2]).prod(1) / 64**2
    assert areas.tolist() == pytest.approx([32 * 48, 10 * 28, 16 * 16], rel=0.03)


def test_moved_objects_are_where_the_photograph_went():
    masks = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    masks[:, 40:60, 20:50] = 1
    transforms = torch.tensor([[2.0, 2, 0, 0], [-1, 1, 100, 10], [2, 2, -60, 0]])
    targets = Targets(masks, transforms)
    # enlarged, mirrored and moved, cropped at the left side
    want = [[40, 80, 100, 120], [50, 50, 80, 70], [0, 80, 40, 120]]
    assert targets.bboxes.tolist() == want
    assert targets.areas.tolist() == pytest.approx([2400, 600, 1600], rel=0.02)
    windows = torch.tensor(want).float()
    assert targets.in_windows(windows)[..., 2:-2, 2:-2].min() == 1


def test_losses_are_nothing_for_right_masks_and_know_what_is_outside():
    targets, windows = targets_and_windows()
    right = torch.where(targets.in_windows(windows) > 0.5, 12.0, -12.0)
    losses, ious = window_losses(right, torch.ones(3), windows, targets)
    # half of a soft edge is wrong whatever is said
    assert ious[:2].min() > 0.97 and losses[:2].max() < 0.4
    # the third window shows a small part of its object
    assert ious[2].item() == pytest.approx(16 * 16 / 60**2, rel=0.02)
    wrong, none = window_losses(-right, torch.ones(3), windows, targets)
    assert (wrong > losses + 1).all() and none.max() < 0.05


def test_first_points_are_inside_or_padding():
    targets, _ = targets_and_windows()
    wanted = torch.tensor([True, False, True])
    random = generator()
    for _ in range(20):
        points, labels = first_points(targets, wanted, random)
        assert labels[:, 0].tolist() == [1, -1, 1]
        x, y = points[wanted, 0].round().long().unbind(1)
        assert targets.masks[wanted][torch.arange(2), y, x].tolist() == [1, 1]


def test_next_points_are_inside_of_what_is_wrong():
    targets, windows = targets_and_windows()
    first = torch.zeros(3, dtype=torch.long)
    targets, windows = targets[first], windows[first]
    wanted = targets.in_windows(windows)[:, 0] > 0.5
    found = wanted.clone()
    found[0, 16:30] = False  # something is missing
    found[1, :14, 20:60] = True  # too much
    logits = torch.where(found, 3.0, -3.0)[:, None]
    random = generator()
    for _ in range(20):
        points, labels = next_points(logits, windows, targets, random)
        assert labels[:, 0].tolist() == [1, 0, 1]
        x, y = in_windows(points, windows)
        where = torch.arange(3)
        assert (found ^ wanted)[where, y, x].tolist() == [True, True, False]
        assert wanted[where, y, x].tolist() == [True, False, True]


@pytest.fixture
def data(tmp_path):
    return tiny_photo.photo_data(tmp_path, shapes=((90, 120), (128, 100), (80, 128)))


@pytest.fixture
def make_trainer(tmp_path, data):
    def make(**settings):
        model = tiny_photo.build(**tiny_photo.WINDOWS)
        features = EncodedPhotos(tmp_path / 'encoded', data)
        features.encode(model.backbone)
        settings = dict(steps=8, batch_size=4, warmup=1, seed=SEED) | settings
        return WindowTrainer(model, data, features, **settings)

    return make


@torch.no_grad()
def test_maps_are_the_towers_of_the_photographs_as_tested_first(make_trainer, data):
    trainer = make_trainer()
    features, tower = trainer.features, trainer.model.backbone
    assert len(features) == 6
    assert torch.equal(features.transforms[:3], as_in_a_test(data.sizes))
    assert not torch.equal(features.transforms[3:], features.transforms[:3])
    batch = make_batch(data, torch.arange(3), generator(), augment=False)
    for got, want in zip(features.maps(1), tower(batch.inputs)):
        assert torch.allclose(got, want[1:2], rtol=2e-3, atol=2e-3)
    assert not torch.allclose(features.maps(4)[0], features.maps(1)[0], atol=0.1)


@pytest.mark.parametrize('silent', [False, True])
def test_interrupted_encoding_goes_on_with_what_is_missing(
    make_trainer, data, tmp_path, monkeypatch, silent
):
    trainer = make_trainer()
    monkeypatch.setattr('mmovsam.photos.encoded.tqdm', partial(tqdm, disable=silent))
    again = EncodedPhotos(tmp_path / 'encoded', data)
    before = again.levels[0][4].copy()
    again.done[4] = False
    again.levels[0][4] = 0
    asked = []
    hook = trainer.model.backbone.register_forward_hook(lambda *args: asked.append(args))
    again.encode(trainer.model.backbone)
    hook.remove()
    assert len(asked) == 1 and again.done.all() and (again.levels[0][4] == before).all()


def test_maps_of_others_are_refused(make_trainer, data, tmp_path):
    trainer = make_trainer()
    with pytest.raises(ValueError, match='other photographs'):
        EncodedPhotos(tmp_path / 'encoded', data, views=3)
    with torch.no_grad():
        trainer.model.backbone.visual.conv_stem.weight[0, 0, 0, 0] += 1
    with pytest.raises(ValueError, match='another tower'):
        EncodedPhotos(tmp_path / 'encoded', data).encode(trainer.model.backbone)
    data.has_mask[:] = False
    with pytest.raises(ValueError, match='mask to learn from'):
        WindowTrainer(trainer.model, data, trainer.features)


def test_only_the_window_decoder_learns(make_trainer):
    trainer = make_trainer()
    trainer.begin()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for _ in range(3):
        losses = trainer.update(0.0)
        assert all(value.isfinite() for value in losses.values())
    for name, value in trainer.model.state_dict().items():
        learns = name.startswith('window_decoder.') and not name.endswith(('.mean', '.std'))
        learns &= '.ranker.' not in name
        assert torch.equal(value, before[name]) != learns, name
    averaged = trainer.averaged.window_decoder.mask.weight
    assert not torch.equal(averaged, before['window_decoder.mask.weight'])


@torch.no_grad()
def test_objects_of_several_images_are_decoded_as_those_of_each(make_trainer):
    trainer = make_trainer()
    maps, targets = trainer.draw(generator())
    assert len(maps) > 1 and sum(count for _, count in maps) == len(targets)
    prompts = trainer._first_prompts(targets, generator())
    got = trainer._decode(maps, prompts)
    counts = [count for _, count in maps]
    parts = zip(*(part.split(counts) for part in prompts))
    wants = [
        trainer.model.window_decoder(own, type(prompts)(*part))
        for (own, _), part in zip(maps, parts)
    ]
    for ours, want in zip(got, zip(*wants)):
        assert torch.allclose(ours, torch.cat(want), atol=1e-4)


@torch.no_grad()
def test_calibration_makes_what_is_read_alike(make_trainer):
    trainer = make_trainer()
    trainer.begin()
    before = [conv.std.clone() for conv in trainer.model.window_decoder.inputs]
    trainer.begin()  # was done
    pairs = (trainer.model.window_decoder.inputs, trainer.averaged.window_decoder.inputs)
    for std, one, other in zip(before, *pairs):
        assert not torch.equal(std, torch.ones_like(std)) and (std > 0).all()
        assert torch.equal(one.std, std) and torch.equal(other.std, std)
        assert torch.equal(one.mean, other.mean)


def test_evaluation_gives_an_iou_of_boxes_of_boxes_that_are_off_and_of_points(make_trainer, data):
    trainer = make_trainer()
    data.objects_of[0] = []  # a photograph without objects is passed over
    found = evaluate_masks(trainer.averaged, data)
    # an untrained decoder draws the ellipse that these objects are, more or less
    assert 0.2 < found['jitter'] < found['box'] < 1
    assert 0 < found['point'] < 1 and found['objects'] == 6


@torch.no_grad()
def test_clicks_to_rank_are_drawn_with_the_ious_of_their_masks(make_trainer):
    trainer = make_trainer()
    features, ious = draw_candidates(trainer, 5, SEED)
    decoder = trainer.averaged.window_decoder
    assert len(features) >= 5 and ious.shape == features.shape[:2]
    # the same click again, by itself
    maps, targets = trainer.draw(generator())
    points, labels = first_points(targets, torch.ones(len(targets), dtype=torch.bool), generator())
    logits, quality, _, masks = decoder.propose(maps[0][0], points[:1], labels[:1])
    assert torch.allclose(features[:1], MaskRanker.features(masks, quality, logits), atol=1e-4)
    scale, offset = targets.scales[0], targets.offsets[0]
    assert (scale > 0).all() and (ious >= 0).all() and (ious <= 1).all()
    # pixels of the input that are inside, asked one by one at the centers of the mask's positions
    size = masks.shape[-1]
    centers = ((torch.arange(size) + 0.5) * (SIZE / size) - offset[:, None]) / scale[:, None]
    x, y = centers.floor().long().clamp(0, SIZE - 1)
    truth = targets.masks[0][y[:, None], x] > 0
    found = masks[0] > 0
    want = (found & truth).sum((1, 2)) / (found | truth).sum((1, 2)).clamp(min=1)
    assert torch.allclose(ious[0], want, atol=0.05)


def test_ranking_learns_which_masks_are_meant():
    torch.manual_seed(SEED)
    ranker = MaskRanker(3)
    features = torch.rand(400, 3, ranker.mean.numel())
    ious = 0.8 * (1 - features[..., 0]) + 0.1 * features[..., 9]  # the quality misleads
    alone, ranked, best = train_ranker(ranker, Candidates(features, ious), epochs=40).values()
    assert alone < ranked - 20 and ranked > best - 3


@pytest.fixture
def crop_trainer(tmp_path, data):
    model = tiny_photo.build(
        **tiny_photo.WINDOWS, region_namer=tiny_photo.NAMER, **tiny_photo.CROPS
    )
    features = EncodedPhotos(tmp_path / 'encoded', data)
    features.encode(model.backbone)
    return CropTrainer(model, data, features, steps=30, batch_size=4, warmup=1, seed=SEED)


def test_only_crops_of_boxes_that_moved_are_encoded_again(crop_trainer):
    views, targets = crop_trainer.draw_objects(generator())
    crops = crop_trainer.encode_crops(views, targets.bboxes, generator())
    moved = targets.bboxes.clone()
    moved[1:] += 3
    later = crop_trainer.encode_crops(views, moved, generator(), crops)
    assert torch.allclose(later.windows[1:], crops.windows[1:] + 3)
    for before, after in zip(crops.maps, later.maps):
        assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])
    assert crop_trainer.encode_crops(views, moved, generator(), later) is later


def test_crop_decoder_learns_alone_and_begins_as_the_window_decoder(crop_trainer, data):
    trainer, model = crop_trainer, crop_trainer.model
    trainer.begin()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for name, value in model.crop_decoder.state_dict().items():
        assert torch.equal(value, before[f'window_decoder.{name}'])
    losses = [trainer.update(step / 30)['mask'].item() for step in range(30)]
    assert sum(losses[-5:]) < sum(losses[:5])
    changed = {
        name.split('.')[0]
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {'crop_decoder'}
    assert set(trainer.measure(data)) == {'box', 'jitter', 'point', 'objects'}

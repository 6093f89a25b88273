"""Trainings that are stopped and resumed, with a random model on random data."""

import pytest
import torch
from mmengine.runner import find_latest_checkpoint
from noisy_training import NoisyModel, indices, make_runner, train, weights_of

BETWEEN = dict(saved_by_epoch=False, interval=3)  # in the middle of the second epoch
ITERATIONS = dict(by_epoch=False, interval=2)


@pytest.mark.parametrize(
    'settings',
    [
        dict(workers=0),
        dict(workers=2),
        dict(workers=2, persistent=True),
        dict(workers=0, **BETWEEN),
        dict(workers=2, persistent=True, **BETWEEN),
        dict(workers=0, saved_by_epoch=False, interval=4),  # when the last batch is done
        dict(workers=0, **ITERATIONS),
        dict(workers=2, persistent=True, **ITERATIONS),
        dict(sampler='DefaultSampler', **ITERATIONS),
        dict(randomness=dict(seed=None), **BETWEEN),  # MMEngine draws the seed
        dict(randomness=dict(seed=None), **ITERATIONS),
        dict(wrapper=dict(accumulative_counts=4), **BETWEEN),
        dict(loader=dict(batch_sampler=dict(type='mmdet.AspectRatioBatchSampler')), **BETWEEN),
    ],
    ids=lambda settings: '-'.join(f'{key}={value}' for key, value in settings.items()),
)
def test_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, settings):
    stopped = make_runner(tmp_path / 'cut', stop_at=7, **settings)
    train(stopped)
    whole = make_runner(tmp_path / 'whole', **{**settings, 'randomness': dict(seed=stopped.seed)})
    train(whole)
    resumed = make_runner(tmp_path / 'cut', resume=True, initial=77, **settings)
    train(resumed)
    assert 0 < len(resumed.model.seen) < len(whole.model.seen)
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert resumed.optim_wrapper.get_lr() == whole.optim_wrapper.get_lr()


@pytest.mark.parametrize('by_epoch', [True, False])
def test_number_of_workers_changes_nothing(tmp_path, by_epoch):
    runners = [make_runner(tmp_path / str(n), by_epoch, workers=n) for n in (0, 1, 2)]
    for runner in runners:
        train(runner)
    first, *others = map(weights_of, runners)
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize('settings', [BETWEEN, ITERATIONS])
def test_samples_before_the_checkpoint_are_not_loaded_again(tmp_path, settings):
    train(make_runner(tmp_path, stop_at=7, **settings))
    resumed = make_runner(tmp_path, resume=True, **settings)
    train(resumed)
    assert resumed.train_dataloader.dataset.loaded == indices(resumed.model.seen)


def test_passes_of_an_iteration_based_training_are_shuffled_anew(tmp_path):
    runner = make_runner(tmp_path, by_epoch=False, sampler='DefaultSampler')
    train(runner)
    seen = indices(runner.model.seen)
    assert sorted(seen[:8]) == sorted(seen[8:16]) == list(range(8))
    assert seen[:8] != seen[8:16]


@pytest.mark.parametrize('by_epoch', [True, False])
def test_passes_draw_different_numbers(tmp_path, by_epoch):
    runner = make_runner(tmp_path, by_epoch)
    train(runner)
    numbers = torch.cat(runner.model.seen)[:, 1:]
    assert len(numbers.flatten().unique()) == numbers.numel() == 3 * (24 if by_epoch else 18)


def test_seed_changes_what_is_drawn(tmp_path):
    runners = [make_runner(tmp_path / str(n), randomness=dict(seed=n)) for n in (5, 6)]
    for runner in runners:
        train(runner)
    first, second = (torch.cat(runner.model.seen)[:, 1:] for runner in runners)
    assert not (first == second).any()


def test_larger_batches_go_on_at_the_same_image(tmp_path):
    """As on more processes."""
    train(make_runner(tmp_path, stop_at=3, saved_by_epoch=False, interval=2))
    resumed = make_runner(tmp_path, resume=True, loader=dict(batch_size=4))
    train(resumed)
    whole = make_runner(tmp_path / 'whole')
    train(whole)
    assert indices(resumed.model.seen) == indices(whole.model.seen)[4:]


def test_checkpoint_of_another_loop_is_resumed_at_its_batch(tmp_path):
    train(make_runner(tmp_path, stop_at=7, **BETWEEN))
    path = find_latest_checkpoint(str(tmp_path))
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint['message_hub']['runtime_info']['trained_samples']
    torch.save(checkpoint, path)
    resumed = make_runner(tmp_path, resume=True)
    train(resumed)
    whole = make_runner(tmp_path / 'whole')
    train(whole)
    assert indices(resumed.model.seen) == indices(whole.model.seen)[12:]


def test_data_loader_that_is_built_already_is_refused(tmp_path):
    loader = torch.utils.data.DataLoader(range(4))
    with pytest.raises(TypeError, match='a config, not a DataLoader'):
        make_runner(tmp_path, model=NoisyModel(), train_dataloader=loader).train()


def test_training_without_a_batch_is_refused(tmp_path):
    runner = make_runner(tmp_path, by_epoch=False, loader=dict(batch_size=9, drop_last=True))
    with pytest.raises(ValueError, match='do not fill one batch of 9'):
        runner.train()

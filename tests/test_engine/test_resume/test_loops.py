"""Trainings that are stopped and resumed, with a random model on random data."""

import pytest
import torch
from mmengine.runner import find_latest_checkpoint
from noisy_training import NoisyModel, indices, make_runner, train, weights_of

BETWEEN = dict(saved_by_epoch=False, interval=3)  # in the middle of the second epoch
ITERATIONS = dict(by_epoch=False, interval=2)


def trained(*args, **kwargs):
    runner = make_runner(*args, **kwargs)
    train(runner)
    return runner


@pytest.mark.parametrize(
    'settings',
    [
        dict(workers=2),
        dict(workers=2, persistent=True, **BETWEEN),
        dict(workers=2, persistent=True, **ITERATIONS),
        dict(randomness=dict(seed=None), **BETWEEN),  # MMEngine draws the seed
        dict(wrapper=dict(accumulative_counts=4), **BETWEEN),
        dict(loader=dict(batch_sampler=dict(type='mmdet.AspectRatioBatchSampler')), **BETWEEN),
    ],
    ids=lambda settings: '-'.join(f'{key}={value}' for key, value in settings.items()),
)
def test_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, settings):
    stopped = trained(tmp_path / 'cut', stop_at=7, **settings)
    whole = trained(tmp_path / 'whole', **{**settings, 'randomness': dict(seed=stopped.seed)})
    resumed = trained(tmp_path / 'cut', resume=True, initial=77, **settings)
    assert 0 < len(resumed.model.seen) < len(whole.model.seen)
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert resumed.optim_wrapper.get_lr() == whole.optim_wrapper.get_lr()


@pytest.mark.parametrize('by_epoch', [True, False])
def test_number_of_workers_changes_nothing_and_no_number_is_drawn_twice(tmp_path, by_epoch):
    runners = [trained(tmp_path / str(n), by_epoch, workers=n) for n in (0, 2)]
    assert torch.equal(*map(weights_of, runners))
    numbers = torch.cat(runners[0].model.seen)[:, 1:]
    assert len(numbers.flatten().unique()) == numbers.numel() == 3 * (24 if by_epoch else 18)


@pytest.mark.parametrize('settings', [BETWEEN, ITERATIONS])
def test_samples_before_the_checkpoint_are_not_loaded_again(tmp_path, settings):
    trained(tmp_path, stop_at=7, **settings)
    resumed = trained(tmp_path, resume=True, **settings)
    assert resumed.train_dataloader.dataset.loaded == indices(resumed.model.seen)


def test_larger_batches_and_checkpoints_of_other_loops_go_on_at_the_same_image(tmp_path):
    whole = indices(trained(tmp_path / 'whole').model.seen)
    trained(tmp_path, stop_at=3, saved_by_epoch=False, interval=2)
    resumed = trained(tmp_path, resume=True, loader=dict(batch_size=4))  # as on more processes
    assert indices(resumed.model.seen) == whole[4:]
    trained(tmp_path / 'other', stop_at=7, **BETWEEN)
    path = find_latest_checkpoint(str(tmp_path / 'other'))
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint['message_hub']['runtime_info']['trained_samples']
    torch.save(checkpoint, path)
    assert indices(trained(tmp_path / 'other', resume=True).model.seen) == whole[12:]


def test_unusable_data_loaders_are_refused(tmp_path):
    loader = torch.utils.data.DataLoader(range(4))
    with pytest.raises(TypeError, match='a config, not a DataLoader'):
        make_runner(tmp_path, model=NoisyModel(), train_dataloader=loader).train()
    with pytest.raises(ValueError, match='do not fill one batch of 9'):
        make_runner(tmp_path, by_epoch=False, loader=dict(batch_size=9, drop_last=True)).train()

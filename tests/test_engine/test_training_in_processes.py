"""Two processes with half the batch train as one does."""

import pytest
import tiny
import tiny_training
from tiny_training import train, write_files

OVSAM = tiny.merged(
    tiny.OVSAM,
    dict(classifier=dict(classifier='names.safetensors'), train_cfg=dict(max_instances=4)),
)
POLICY = 'torch.distributed.fsdp.wrap.size_based_auto_wrap_policy'
WRAPPER = dict(auto_wrap_policy=dict(type=POLICY, min_num_params=5000))
STRATEGY = dict(type='FullStateFSDPStrategy', model_wrapper=WRAPPER)
FSDP = dict(runner_type='FlexibleRunner', strategy=STRATEGY)


@pytest.fixture
def config(tmp_path):
    """`config(model, batch_size, epochs)`: of 2 steps an epoch on 8 images, if the batch is 4."""
    write_files(tmp_path)

    def make_config(model, batch_size, epochs=2, **changes):
        cfg = tiny_training.config(tmp_path, model, batch_size, **changes)
        cfg.train_cfg.max_epochs = epochs
        return cfg

    return make_config


def compare(one, many):
    """The steps of one process, and those of each of several with the same batch."""
    assert len(one) == len(many[0])
    for (loss, images), *parts in zip(one, *many):
        assert sorted(images) == sorted(image for _, part in parts for image in part)
        for other, _ in parts:
            assert other == pytest.approx(loss, rel=2e-5)


@pytest.fixture(scope='module')
def distilled(tmp_path_factory):
    """The four steps of SAM2CLIP in one process."""
    folder = tmp_path_factory.mktemp('one')
    write_files(folder)
    states, (one,) = train(tiny_training.config(folder, tiny.DISTILLER, 4), 'one')
    assert states == [0] and len(one) == 4
    return one


@pytest.mark.parametrize(
    ('model', 'epochs'), [(OVSAM, 1), pytest.param(tiny.SAM, 2, marks=pytest.mark.slow)]
)
def test_the_loss_of_two_processes_is_that_of_one(config, model, epochs):
    states, (one,) = train(config(model, 4, epochs), 'one')
    assert states == [0] and len(one) == 2 * epochs
    states, many = train(config(model, 2, epochs), 'many', processes=2)
    assert states == [0, 0]
    compare(one, many)


@pytest.mark.slow
def test_shards_train_as_one_process_does_and_resume_with_their_optimizer(config, distilled):
    model = tiny.merged(tiny.DISTILLER, dict(neck=dict(with_cp=True)))
    states, many = train(config(model, 2, 1, **FSDP), 'many', processes=2)
    assert states == [0, 0]
    compare(distilled[:2], many)
    states, rest = train(config(model, 2, resume=True, **FSDP), 'rest', processes=2)
    assert states == [0, 0]
    compare(distilled[2:], rest)


@pytest.mark.slow
def test_accumulated_gradients_of_half_batches_are_those_of_the_whole(config, distilled):
    halves = config(tiny.DISTILLER, 1)
    halves.optim_wrapper.accumulative_counts = 2
    states, many = train(halves, 'many', processes=2)
    assert states == [0, 0]
    means = [
        [((a + b) / 2, [*first, *second]) for (a, first), (b, second) in zip(part[::2], part[1::2])]
        for part in many
    ]
    compare(distilled, means)

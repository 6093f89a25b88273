"""What is said of trainings that cannot be resumed exactly."""

import pytest
import tiny
import tiny_training

from mmovsam.engine.command_line import build_runner


@pytest.mark.parametrize(
    ('train_cfg', 'plain', 'remedy'),
    [
        (dict(type='EpochBasedTrainLoop', max_epochs=1), 'EpochBasedTrainLoop', 'ResumableEpoch'),
        (dict(by_epoch=True, max_epochs=1), 'EpochBasedTrainLoop', 'ResumableEpochLoop'),
        (dict(by_epoch=False, max_iters=1), 'IterBasedTrainLoop', 'ResumableIterLoop'),
        (dict(type='ResumableIterLoop', max_iters=1), None, None),
    ],
)
def test_a_loop_that_loses_exact_resume_is_named_with_the_remedy(
    tmp_path, capfd, train_cfg, plain, remedy
):
    tiny_training.write_files(tmp_path)
    cfg = tiny_training.config(tmp_path, tiny.DISTILLER, 4, launcher='none')
    # MMEngine hands a logger on to the next runner of the same name, which may be a second's
    cfg.merge_from_dict(dict(log_level='WARNING', experiment_name=tmp_path.name))
    cfg.train_cfg = train_cfg
    build_runner(cfg, training=True)
    said = ' '.join(capfd.readouterr())
    assert said.count('train_cfg.type is') == (plain is not None)
    if plain:
        assert f'train_cfg.type is {plain}: ' in said and remedy in said

"""Other programs read the logs of a training."""

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import matplotlib
import mmdet
import pytest
import torch
from mmengine.config import Config
from noisy_training import make_runner, train

ROOT = Path(__file__).resolve().parents[2]
ANALYZE = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'analysis_tools' / 'analyze_logs.py'


def run(folder, by_epoch, *backends):
    runtime = Config.fromfile(ROOT / 'configs' / '_base_' / 'default_runtime.py')
    visualizer = dict(type='mmengine.Visualizer', name=str(folder))
    visualizer['vis_backends'] = [*runtime.vis_backends, *backends]
    logger = dict(runtime.default_hooks.logger, interval=2)
    checkpoint = dict(runtime.default_hooks.checkpoint, by_epoch=by_epoch)
    runner = make_runner(
        folder,
        by_epoch,
        default_hooks=dict(runtime.default_hooks, logger=logger, checkpoint=checkpoint),
        log_processor=dict(runtime.log_processor, by_epoch=by_epoch),
        default_scope='mmdet',
        visualizer=visualizer,
    )
    train(runner)


@pytest.fixture
def analyze(monkeypatch):
    """Run MMDetection's tool, which asks seaborn for nothing but a style."""

    def run_it(*arguments):
        style = ModuleType('seaborn')
        style.set_style = lambda name: None
        monkeypatch.setitem(sys.modules, 'seaborn', style)
        monkeypatch.setattr(sys, 'argv', ['analyze_logs.py', *map(str, arguments)])
        matplotlib.use('agg')
        runpy.run_path(str(ANALYZE), run_name='__main__')

    return run_it


@pytest.mark.parametrize('by_epoch', [True, False])
def test_analyze_logs_plots_losses_and_measures_time(tmp_path, analyze, capsys, by_epoch):
    run(tmp_path, by_epoch)
    log = next(tmp_path.glob('*/vis_data/scalars.json'))
    analyze('plot_curve', log, '--keys', 'loss', 'lr', '--out', tmp_path / 'curve.png')
    assert (tmp_path / 'curve.png').stat().st_size > 5000
    analyze('cal_train_time', log, '--include-outliers')
    assert 'average iter time' in capsys.readouterr().out


def test_other_back_ends_get_losses_and_rates(tmp_path, monkeypatch):
    """TensorBoard's own package need not be installed here."""
    seen = []
    writer = SimpleNamespace(
        add_scalar=lambda name, value, step: seen.append((name, float(value), step)),
        add_text=lambda *_: None,
        close=lambda: None,
    )
    package = ModuleType('torch.utils.tensorboard')
    package.SummaryWriter = lambda folder: writer
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', package)
    run(tmp_path, True, dict(type='TensorboardVisBackend'))
    assert {name for name, _, _ in seen} >= {'loss', 'lr', 'time'}
    losses = {step: value for name, value, step in seen if name == 'loss'}
    assert sorted(losses) == [2, 4, 6, 8, 10, 12] and len(set(losses.values())) == 6
    assert all(torch.tensor(list(losses.values())).isfinite())
    assert next(tmp_path.glob('*/vis_data/scalars.json')).is_file()

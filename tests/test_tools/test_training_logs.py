"""Other programs read the logs of a training."""

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import matplotlib
import mmdet
import pytest
from mmengine.config import Config
from noisy_training import make_runner, train

ROOT = Path(__file__).resolve().parents[2]
ANALYZE = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'analysis_tools' / 'analyze_logs.py'


@pytest.fixture
def losses_in_tensorboard(monkeypatch):
    """`(name, value, step)` of all that is written; its own package need not be installed."""
    seen, package = [], ModuleType('torch.utils.tensorboard')
    package.SummaryWriter = lambda folder: SimpleNamespace(
        add_scalar=lambda name, value, step: seen.append((name, float(value), step)),
        add_text=lambda *_: None,
        close=lambda: None,
    )
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', package)
    return seen


@pytest.mark.parametrize('by_epoch', [True, False])
def test_analyze_logs_and_other_back_ends_get_losses_and_rates(
    tmp_path, losses_in_tensorboard, monkeypatch, capsys, by_epoch
):
    runtime = Config.fromfile(ROOT / 'configs' / '_base_' / 'default_runtime.py')
    runtime.default_hooks.logger.interval = 2
    runtime.default_hooks.checkpoint.by_epoch = by_epoch
    backends = [*runtime.vis_backends, dict(type='TensorboardVisBackend')]
    runner = make_runner(
        tmp_path,
        by_epoch,
        default_hooks=runtime.default_hooks,
        log_processor=dict(runtime.log_processor, by_epoch=by_epoch),
        default_scope='mmdet',
        visualizer=dict(type='mmengine.Visualizer', name=str(tmp_path), vis_backends=backends),
    )
    train(runner)
    assert {name for name, _, _ in losses_in_tensorboard} >= {'loss', 'lr', 'time'}
    losses = {step: value for name, value, step in losses_in_tensorboard if name == 'loss'}
    assert sorted(losses) == list(range(2, 13 if by_epoch else 9, 2))
    assert len(set(losses.values())) == len(losses)

    style = ModuleType('seaborn')  # of which MMDetection's tool asks nothing but a style
    style.set_style = lambda name: None
    monkeypatch.setitem(sys.modules, 'seaborn', style)
    matplotlib.use('agg')
    log = next(tmp_path.glob('*/vis_data/scalars.json'))
    plot = ['plot_curve', log, '--keys', 'loss', 'lr', '--out', tmp_path / 'curve.png']
    for arguments in (plot, ['cal_train_time', log, '--include-outliers']):
        monkeypatch.setattr(sys, 'argv', ['analyze_logs.py', *map(str, arguments)])
        runpy.run_path(str(ANALYZE), run_name='__main__')
    assert (tmp_path / 'curve.png').stat().st_size > 5000
    assert 'average iter time' in capsys.readouterr().out

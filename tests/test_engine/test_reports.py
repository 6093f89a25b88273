"""What the log says of a training, and who writes it."""

from types import SimpleNamespace

import pytest
from mmengine.hooks import LoggerHook
from noisy_training import NoisyData, NoisyModel, make_runner
from torch.utils.data import ConcatDataset

from mmovsam.engine.hooks import SingleLoggerHook
from mmovsam.engine.hooks.reports import sources_of


@pytest.mark.parametrize(
    ('by_epoch', 'length', 'whole', 'count'),
    [
        (True, '3 epochs of 4 batches of 2', 'An epoch takes about 0:00:0', 4),
        (False, '9 batches of 2', 'All of it takes about 0:00:0', 9),
    ],
)
def test_start_and_time_of_a_training_are_logged_once(
    tmp_path, monkeypatch, by_epoch, length, whole, count
):
    lines, model = [], NoisyModel()
    model.linear.bias.requires_grad_(False)
    hook = dict(type='TrainingReportHook', warm_up=1, measured=4)
    runner = make_runner(tmp_path, model=model, custom_hooks=[hook], by_epoch=by_epoch)
    monkeypatch.setattr(runner.logger, 'info', lines.append)
    runner.train()
    first, second = [line for line in lines if 'param' in line or 'takes' in line]
    assert first == f'12 of 13 parameters train. Images: 8 of NoisyData. {length}.'
    assert second.startswith(whole) and f'{count} iterations of' in second


@pytest.mark.parametrize('rank', [0, 1])
def test_only_the_main_process_writes_the_metrics_of_a_test(monkeypatch, rank):
    written = []
    monkeypatch.setattr(LoggerHook, 'after_test_epoch', lambda *args: written.append(args))
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: rank)
    SingleLoggerHook().after_test_epoch(None, {})
    assert len(written) == (rank == 0)


class Named(NoisyData):
    def __init__(self, source=None, ann_file=None):
        super().__init__()
        self.ann_file = ann_file
        self.metainfo = dict(source=source) if source else dict(classes=('owl',))


def test_images_are_counted_for_each_source():
    data = ConcatDataset([Named('LVIS'), Named(ann_file='a.json'), NoisyData()])
    expected = [('LVIS', 8), ('Named a.json', 8), ('NoisyData', 8)]
    assert list(sources_of(SimpleNamespace(dataset=data))) == expected

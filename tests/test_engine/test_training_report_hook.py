"""What the log says at the start of a training."""

import pytest
from noisy_training import NoisyData, NoisyModel, make_runner
from torch.utils.data import ConcatDataset

from mmovsam.engine.hooks.training_report_hook import sources_of


class Named(NoisyData):
    def __init__(self, source=None, ann_file=None):
        super().__init__()
        self.metainfo = dict(source=source) if source else dict(classes=('owl',))
        if ann_file:
            self.ann_file = ann_file


class Wrapper:
    def __init__(self, dataset, times=1):
        self.dataset = dataset
        self.times = times

    def __len__(self):
        return len(self.dataset) * self.times


def test_images_are_counted_for_each_source():
    data = ConcatDataset([Named('LVIS'), Named(ann_file='a.json'), NoisyData()])
    wrapper = Wrapper(data)
    expected = [('LVIS', 8), ('Named a.json', 8), ('NoisyData', 8)]
    assert list(sources_of(data)) == list(sources_of(wrapper)) == expected
    assert list(sources_of(Wrapper(data, 2))) == [('Wrapper', 48)]


def logged(folder, monkeypatch, **settings):
    lines = []
    model = NoisyModel()
    model.linear.bias.requires_grad_(False)
    hook = dict(type='TrainingReportHook', warm_up=1, measured=4)
    runner = make_runner(folder, model=model, custom_hooks=[hook], **settings)
    monkeypatch.setattr(runner.logger, 'info', lines.append)
    runner.train()
    return '\n'.join(line for line in lines if 'param' in line or 'takes' in line)


@pytest.mark.parametrize(
    ('by_epoch', 'length', 'whole'),
    [
        (True, '3 epochs of 4 batches of 2', 'An epoch takes about 0:00:0'),
        (False, '9 batches of 2', 'All of it takes about 0:00:0'),
    ],
)
def test_start_and_time_of_a_training_are_logged_once(
    tmp_path, monkeypatch, by_epoch, length, whole
):
    text = logged(tmp_path, monkeypatch, by_epoch=by_epoch)
    first, second = text.splitlines()
    assert first == f'12 of 13 parameters train. Images: 8 of NoisyData. {length}.'
    assert second.startswith(whole) and f'{4 if by_epoch else 9} iterations of' in second

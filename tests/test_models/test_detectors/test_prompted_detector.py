"""What OVSAM and the baseline share: a detector's labels, the form of masks, chunks."""

import pytest
import torch
from mmengine.model import BaseModule

from mmovsam.prompts import Prompts

BBOXES = torch.tensor([[5.0, 5, 40, 40], [10, 0, 70, 50], [30, 20, 44, 31]])


class Detector(BaseModule):
    """Finds the same three boxes in each image."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, data_samples):
        labels, scores = torch.tensor([1, 0, 0]), torch.tensor([0.9, 0.8, 0.7])
        return [Prompts(bboxes=BBOXES, labels=labels, scores=scores) for _ in data_samples]


def found(build, make, classes=('owl', 'plum'), chunk_size=64, **test_cfg):
    model = build(test_cfg=dict(chunk_size=chunk_size, **test_cfg))
    model.set_vocabulary(make.vocabulary(('plum', 'cat', 'owl'), None))
    model.prompter = Detector(classes)
    return model.test_step(make.batch(make.sample(1)))[0].pred_instances


def test_labels_of_the_detector_become_labels_of_the_vocabulary(build, make):
    one = found(build, make, names='detector')
    assert one.labels.tolist() == [0, 2, 2]
    swapped = found(build, make, classes=('plum', 'owl'), names='detector')
    assert swapped.labels.tolist() == [2, 0, 0]


@pytest.mark.parametrize('classes', [None, ('unicorn', 'yeti')])
def test_names_of_a_detector_that_has_none_of_the_vocabulary_are_refused(build, make, classes):
    for names in ('detector', 'fused'):
        with pytest.raises(ValueError, match='classes=\\[...\\]'):
            found(build, make, classes=classes, names=names)
    assert len(found(build, make, classes=classes)) == 3


@pytest.mark.parametrize(
    'test_cfg, message',
    [
        (dict(scores='detector'), r"test_cfg has no \['scores'\]"),
        (dict(score='best'), "test_cfg.score is 'best'"),
        (dict(bboxes='gt'), "test_cfg.bboxes is 'gt'"),
        (dict(clip_region='box'), "test_cfg.clip_region is 'box'"),
        (dict(chunk_size=0), 'chunk_size must be at least 1'),
        (dict(names='mine'), "test_cfg.names is 'mine'"),
        (dict(mask_format='png'), "test_cfg.mask_format is 'png'"),
        (dict(detector_alpha=1.5), 'detector_alpha must lie between 0 and 1, not 1.5'),
    ],
)
def test_wrong_settings_are_named(build, test_cfg, message):
    with pytest.raises(ValueError, match=message):
        build(test_cfg=test_cfg)
    with pytest.raises(ValueError, match=r"train_cfg has no \['max_instance'\].*'max_instances'"):
        build(train_cfg=dict(max_instance=3))

"""The pipelines and schedules of the full-size configs have the paper's numbers."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import METRICS, MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

from mmovsam.engine.runners import fit_precision

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
OVSAM = ('ovsam_coco', 'ovsam_lvis')
EPOCH = 100  # iterations


def read(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def learning_rates(name):
    """Learning rates over training, by the config's schedulers."""
    cfg = read(name)
    optimizer = torch.optim.SGD(
        [torch.zeros(1, requires_grad=True)], cfg.optim_wrapper.optimizer.lr
    )
    schedulers = []
    for scheduler in cfg.param_scheduler:
        kwargs = dict(scheduler)
        kind = PARAM_SCHEDULERS.get(kwargs.pop('type'))
        if kwargs['by_epoch']:
            kwargs.setdefault('end', cfg.train_cfg.max_epochs)
        if kwargs.pop('convert_to_iter_based', False):
            kind, kwargs['epoch_length'] = kind.build_iter_from_epoch, EPOCH
        schedulers.append(kind(optimizer, **kwargs))
    rates = []
    for iteration in range(cfg.train_cfg.max_epochs * EPOCH):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (iteration + 1) % EPOCH == 0:
                scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize('name', OVSAM)
def test_validation_is_on_a_part_and_average_precision_of_the_tested_annotations(name, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        f'_base_ = [{str(CONFIGS / f"{name}.py")!r}]\n'
        "test_evaluator = [dict(type='OpenVocabMetric', match='iou'), _base_.average_precision]\n"
    )
    cfg = Config.fromfile(path)
    validation, test = cfg.val_dataloader.dataset, cfg.test_dataloader.dataset
    assert cfg.train_cfg.val_interval == 1
    assert validation.pop('filter_cfg') == dict(max_images=500)
    assert validation == test and test.test_mode
    assert cfg.test_evaluator[1].ann_file == test.data_root + test.ann_file
    assert METRICS.get(cfg.test_evaluator[1].type).default_prefix == name.removeprefix('ovsam_')


@pytest.mark.parametrize('name, max_norm', [('ovsam_lvis', 0.01), ('sam2clip_rn50x16', 5.0)])
def test_adamw_takes_16_images_and_does_not_decay_norms(name, max_norm):
    cfg = read(name)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert cfg.auto_scale_lr.base_batch_size == 8 * cfg.train_dataloader.batch_size == 16
    if name in OVSAM:  # half of them by boxes
        assert model.train_cfg == dict(max_instances=40)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.dtype) == ('AmpOptimWrapper', 'bfloat16')
    wrapper = build_optim_wrapper(model, fit_precision(cfg.optim_wrapper))
    assert isinstance(wrapper.optimizer, torch.optim.AdamW)
    assert wrapper.clip_grad_kwargs == dict(max_norm=max_norm)
    decay = {}
    for group in wrapper.optimizer.param_groups:
        assert group['lr'] == 1e-4
        decay.update((id(parameter), group['weight_decay']) for parameter in group['params'])
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, torch.nn.LayerNorm)
        for parameter in module.parameters()
        if parameter.requires_grad
    }
    assert norms
    assert {decay[each] for each in norms} == {0}
    assert {value for each, value in decay.items() if each not in norms} == {0.05}


def test_rates_fall_to_a_tenth_in_epochs_8_and_11_of_12_or_in_a_cosine_in_24():
    assert read('ovsam_coco').param_scheduler == read('ovsam_lvis').param_scheduler
    steps, cosine = learning_rates('ovsam_lvis'), learning_rates('sam2clip_rn50x16')
    assert (len(steps), len(cosine)) == (12 * EPOCH, 24 * EPOCH)
    for rates in (steps, cosine):
        assert rates[0] < 1e-6 and np.all(np.diff(rates[:480]) > 0)
    for part, rate in ((slice(5, 8), 1e-4), (slice(8, 11), 1e-5), (slice(11, 12), 1e-6)):
        assert steps[part.start * EPOCH : part.stop * EPOCH] == pytest.approx(rate)
    assert np.all(np.diff(cosine[501:]) < 0)
    assert cosine[[12 * EPOCH, -1]] == pytest.approx([0.505e-4, 1e-6], rel=1e-2)


def test_distillation_reads_images_only(tmp_path):
    cv2.imwrite(str(tmp_path / '1.png'), np.zeros((120, 160, 3), np.uint8))
    dataset = read('sam2clip_rn50x16').train_dataloader.dataset
    assert dataset.type == 'SA1BDataset' and not dataset.with_annotations
    image = dict(img_path=str(tmp_path / '1.png'), img_id=1, height=120, width=160, instances=[])
    assert Compose(dataset.pipeline)(image)['inputs'].shape == (3, 768, 1024)

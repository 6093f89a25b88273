"""The metric of every choice of names and scores is that metric on the choice alone."""

import pytest
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.registry import init_default_scope

from mmovsam.evaluation import NamingMetric


@METRICS.register_module()
class SumMetric(BaseMetric):
    """Sums of what predictions say, and of their masks' pixels."""

    default_prefix = 'sum'

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            pred = sample['pred_instances']
            assert isinstance(pred['masks'], list) and self.dataset_meta == {'classes': ('a',)}
            self.results.append((pred['labels'].sum().item(), pred['scores'].sum().item()))

    def compute_metrics(self, results):
        labels, scores = map(sum, zip(*results))
        return dict(labels=labels, scores=scores)


@pytest.fixture
def metric():
    init_default_scope('mmdet')
    metric = NamingMetric(dict(type='SumMetric'))
    metric.dataset_meta = dict(classes=('a',))
    return metric


def sample(first):
    instances = dict(bboxes=torch.rand(2, 4), masks=torch.rand(2, 4, 5) > 0.5)
    for step, names in enumerate(('detector', 'fused')):
        instances[f'labels_{names}'] = torch.tensor([first, step])
        for more, score in enumerate(('detector', 'geometric')):
            instances[f'scores_{names}_{score}'] = torch.tensor([0.25 * first, 0.5 * more])
    return dict(img_id=first, pred_instances=instances)


def test_each_choice_is_measured_alone(metric):
    metric.process(None, [sample(1)])
    metric.process(None, [sample(2)])
    found = metric.evaluate(2)
    assert found['naming/detector_detector/labels'] == 3
    assert found['naming/fused_geometric/labels'] == 5
    assert found['naming/detector_detector/scores'] == pytest.approx(0.75)
    assert found['naming/fused_geometric/scores'] == pytest.approx(1.75)
    assert len(found) == 8


def test_the_table_has_a_row_for_each_choice(metric, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmovsam.evaluation.naming_metric.print_log', lambda text, **kwargs: said.append(text)
    )
    metric.process(None, [sample(1)])
    metric.evaluate(1)
    rows = [line.split() for line in said[-1].splitlines()]
    assert rows[0] == ['names', 'scores', 'labels', 'scores'] and len(rows) == 5
    assert rows[-1] == ['fused', 'geometric', '2.000', '0.750']


def test_a_second_test_starts_anew(metric):
    for _ in range(2):
        metric.process(None, [sample(1)])
        assert metric.evaluate(1)['naming/detector_detector/labels'] == 1


def test_predictions_without_the_choices_are_refused(metric):
    instances = dict(bboxes=torch.rand(2, 4), labels=torch.zeros(2), scores=torch.ones(2))
    with pytest.raises(ValueError, match='compare_names=True'):
        metric.process(None, [dict(img_id=1, pred_instances=instances)])

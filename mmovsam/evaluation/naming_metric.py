"""One metric for each choice of whose name and whose score predictions get."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

from mmdet.registry import METRICS
from mmdet.structures.mask import encode_mask_results
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from .open_vocab_metric import to_numpy


@METRICS.register_module()
class NamingMetric(BaseMetric):
    """Another metric, once for each choice of names and scores, in one table.

    It reads what `OVSAM` keeps of every choice with `test_cfg=dict(compare_names=True)`, so the
    choices are compared on the same masks in a single test.

    The values are those of the metric, named `{names}_{score}/{value}`, such as
    `fused_geometric/segm_AP`.

    Args:
        metric: Config of the metric, such as `dict(type='OpenVocabCocoMetric', ann_file=...)`.
        columns: Values of the metric that the table shows; None for all.
        collect_device: As for every MMEngine metric.
        prefix: As for every MMEngine metric.

    Raises:
        ValueError: If predictions do not keep the choices.
    """

    default_prefix = 'naming'

    def __init__(
        self,
        metric: dict,
        columns: Sequence[str] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metric = METRICS.build(dict(metric, collect_device=collect_device))
        self.columns = columns
        self._choices: dict[tuple[str, str], BaseMetric] = {}

    def process(self, data_batch: dict | None, data_samples: Sequence[dict]) -> None:
        """Hand some images to the metric of each choice.

        Args:
            data_batch: Handed on.
            data_samples: As the metric reads them; `pred_instances` with `labels_{names}` and
                `scores_{names}_{score}`.

        Raises:
            ValueError: If `pred_instances` lacks these.
        """
        for data_sample in data_samples:
            pred = dict(data_sample['pred_instances'])
            chosen = sorted(key for key in pred if key.startswith('scores_'))
            if not chosen:
                raise ValueError(
                    'NamingMetric compares names and scores that the predictions do not keep: set '
                    'model.test_cfg.compare_names=True.'
                )
            if not isinstance(pred.get('masks', []), (list, tuple)):
                pred['masks'] = encode_mask_results(to_numpy(pred['masks']))
            for key in chosen:
                _, names, score = key.split('_')
                instances = dict(pred, labels=pred[f'labels_{names}'], scores=pred[key])
                metric = self._choices.get((names, score))
                if metric is None:
                    metric = self._choices[names, score] = copy.copy(self.metric)
                    metric.results, metric.dataset_meta = [], self.dataset_meta
                metric.process(data_batch, [dict(data_sample, pred_instances=instances)])

    def evaluate(self, size: int) -> dict[str, float]:
        """All metrics and their table; called once a test, in all processes.

        Args:
            size: Number of tested images.
        """
        metrics, rows = {}, []
        for (names, score), metric in sorted(self._choices.items()):
            values = metric.evaluate(size)
            values = {key.rsplit('/', 1)[-1]: value for key, value in (values or {}).items()}
            rows.append((names, score, values))
            own = {f'{names}_{score}/{key}': value for key, value in values.items()}
            metrics.update({f'{self.prefix}/{key}': value for key, value in own.items()})
        self._choices.clear()
        if is_main_process() and rows:
            self._print_table(rows)
        return metrics

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Not used: the metrics of the choices compute."""
        raise NotImplementedError

    def _print_table(self, rows: list[tuple[str, str, dict]]) -> None:
        columns = list(self.columns or dict.fromkeys(itertools.chain(*(row[2] for row in rows))))
        width = max(10, *map(len, columns)) + 2
        lines = [f'{"names":<13}{"scores":<13}' + ''.join(f'{c:>{width}}' for c in columns)]
        for names, score, values in rows:
            cells = ''.join(f'{values.get(c, float("nan")):>{width}.3f}' for c in columns)
            lines.append(f'{names:<13}{score:<13}{cells}')
        print_log('\n'.join(lines), logger='current')

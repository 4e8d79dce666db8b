"""Accuracy of a classifier with several heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from mmdistill.evaluation.classification import ClassificationMetric


@METRICS.register_module()
class MultiTaskMetric(BaseMetric):
    """One :class:`ClassificationMetric` a task, and means over the tasks.

    A predicted sample holds ``<task>_scores`` and ``<task>_label`` for each task. Returned are
    ``<task>_top1``, ``<task>_f1`` and what else its metric gives, and ``mean_top1`` and
    ``mean_f1``, by which the best checkpoint may be chosen.

    Config lines::

        val_evaluator = dict(
            type='MultiTaskMetric',
            tasks=dict(modality=dict(classes=['CT', 'MR']), location=dict(classes=[...])))
        default_hooks = dict(
            checkpoint=dict(type='CheckpointHook', save_best='mean_f1', rule='greater'))

    Args:
        tasks: Arguments of each task's :class:`ClassificationMetric`, by the task's name.
        collect_device: As in MMEngine.
        prefix: As in MMEngine: in front of every name.
    """

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any]],
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        if not tasks:
            raise ValueError('tasks names at least one task with its classes')
        self.metrics = {
            name: ClassificationMetric(
                **{'scores': f'{name}_scores', 'label': f'{name}_label', **(options or {})}
            )
            for name, options in tasks.items()
        }

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep what each task's metric reads of each predicted sample."""
        for metric in self.metrics.values():
            metric.process(data_batch, data_samples)
        columns = [metric.results for metric in self.metrics.values()]
        self.results += [
            dict(zip(self.metrics, row, strict=True)) for row in zip(*columns, strict=True)
        ]
        for column in columns:
            column.clear()

    def compute_metrics(self, results: Sequence[Mapping[str, tuple]]) -> dict[str, Any]:
        """Return the metrics of all tasks and their means."""
        metrics = {}
        for name, metric in self.metrics.items():
            own = metric.compute_metrics([row[name] for row in results])
            metrics.update({f'{name}_{key}': value for key, value in own.items()})
        for key, mean in (('top1', 'mean_top1'), ('f1', 'mean_f1')):
            values = [metrics.get(f'{name}_{key}') for name in self.metrics]
            if None not in values:
                metrics[mean] = sum(values) / len(values)
        return metrics

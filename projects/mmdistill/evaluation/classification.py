"""Accuracy of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from mmdistill.evaluation.scores import confusion_matrix, macro_f1, top_k_accuracy


@METRICS.register_module()
class ClassificationMetric(BaseMetric):
    """Top-k accuracy, macro F1 and, on request, the confusion matrix.

    A predicted sample holds scores ``(C,)`` and a label. Returned are ``top1`` and so on,
    ``f1`` (macro: the mean over the classes that are true or predicted somewhere),
    ``top1_<group>`` for each group, and ``confusion`` (rows are true, columns predicted).

    Config lines::

        val_evaluator = dict(type='ClassificationMetric', topk=(1, 5))
        test_evaluator = dict(val_evaluator, confusion=True)
        default_hooks = dict(
            checkpoint=dict(type='CheckpointHook', save_best='top1', rule='greater'))

    Args:
        topk: Which accuracies.
        groups: Classes by a group's name; the accuracy on the samples of those classes.
        confusion: Return the confusion matrix, too, as lists.
        scores: Key of a sample's scores.
        label: Key of its label.
        classes: Names of the classes, in the order of the scores; by default the data set's.
        collect_device: As in MMEngine.
        prefix: As in MMEngine: in front of every name.
    """

    def __init__(
        self,
        topk: Sequence[int] = (1,),
        groups: Mapping[str, Sequence[str]] | None = None,
        confusion: bool = False,
        scores: str = 'scores',
        label: str = 'label',
        classes: Sequence[str] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.topk = tuple(topk)
        if not self.topk or any(not isinstance(k, int) or k < 1 for k in self.topk):
            raise ValueError(f'topk lists numbers of classes from 1, not {topk!r}')
        self.groups = dict(groups or {})
        self.confusion = confusion
        self.scores, self.label, self._classes = scores, label, classes

    @property
    def classes(self) -> Sequence[str] | None:
        """Names of the classes where somebody told them."""
        return self._classes or (self.dataset_meta or {}).get('classes')

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep scores and label of each predicted sample.

        Raises:
            ValueError: A sample has no scores or no label.
        """
        for sample in data_samples:
            missing = [key for key in (self.scores, self.label) if key not in sample]
            if missing:
                raise ValueError(
                    f'{type(self).__name__} reads {missing} of predicted samples, which hold '
                    f'{sorted(sample)}'
                )
            scores = np.asarray(sample[self.scores], dtype=np.float64)
            self.results.append((scores, int(sample[self.label])))

    def compute_metrics(self, results: Sequence[tuple[np.ndarray, int]]) -> dict[str, Any]:
        """Return the metrics of all samples.

        Raises:
            ValueError: Scores are not finite, or labels, groups or ``topk`` name a class that the
                scores do not have.
        """
        scores = np.stack([item[0] for item in results])
        labels = np.array([item[1] for item in results])
        num_classes = scores.shape[1]
        self._check(scores, labels)
        metrics: dict[str, Any] = {f'top{k}': top_k_accuracy(scores, labels, k) for k in self.topk}
        confusion = confusion_matrix(scores.argmax(1), labels, num_classes)
        metrics['f1'] = macro_f1(confusion)
        for name, members in self.groups.items():
            rows = np.isin(labels, self._indices(name, members))
            if rows.any():
                metrics[f'top1_{name}'] = top_k_accuracy(scores[rows], labels[rows], 1)
        if self.confusion:
            metrics['confusion'] = confusion.tolist()
        return metrics

    def _check(self, scores: np.ndarray, labels: np.ndarray) -> None:
        num_classes = scores.shape[1]
        if not np.isfinite(scores).all():
            broken = int((~np.isfinite(scores)).any(1).sum())
            raise ValueError(f'{broken} of {len(scores)} samples have scores that are not finite')
        if self.classes is not None and len(self.classes) != num_classes:
            raise ValueError(
                f'the model scores {num_classes} classes, the data set has {len(self.classes)}: '
                'set num_classes of the head'
            )
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(
                f'labels reach from {labels.min()} to {labels.max()}, scores have {num_classes} '
                'classes: set num_classes of the head, or choose the data set that it belongs to'
            )
        if max(self.topk) > num_classes:
            raise ValueError(f'topk={self.topk} with {num_classes} classes')

    def _indices(self, group: str, members: Sequence[str]) -> list[int]:
        classes = list(self.classes or ())
        unknown = [name for name in members if name not in classes]
        if unknown:
            raise ValueError(f'group {group!r} names {unknown}; the classes are {classes}')
        return [classes.index(name) for name in members]

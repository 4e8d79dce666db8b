"""Metrics of classifiers; numpy only."""

from mmdistill.evaluation.classification import ClassificationMetric
from mmdistill.evaluation.multi_task import MultiTaskMetric

__all__ = ['ClassificationMetric', 'MultiTaskMetric']

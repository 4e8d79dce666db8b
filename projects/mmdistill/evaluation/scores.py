"""Top-k accuracy, F1 and confusion matrices of predictions, in numpy."""

from __future__ import annotations

import numpy as np


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of samples whose label is among the ``k`` highest scores.

    Ties are no help: of classes with the label's own score, all are taken to stand before it, so
    constant scores count as wrong.

    Args:
        scores: ``(N, C)``.
        labels: ``(N,)``.
        k: How many classes a sample may name.
    """
    own = scores[np.arange(len(labels)), labels]
    not_below = (scores >= own[:, None]).sum(1)  # the label itself included
    return float((not_below <= k).mean())


def confusion_matrix(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts ``(C, C)``: rows are what is true, columns what was predicted."""
    pairs = labels * num_classes + predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def f1_by_class(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class ``(C,)``; NaN for one that is neither true nor predicted anywhere."""
    hits = np.diag(confusion)
    total = confusion.sum(0) + confusion.sum(1)
    return np.divide(2.0 * hits, total, out=np.full(len(hits), np.nan), where=total > 0)


def macro_f1(confusion: np.ndarray) -> float:
    """Mean F1 of the classes that are true or predicted somewhere."""
    return float(np.nanmean(f1_by_class(confusion)))

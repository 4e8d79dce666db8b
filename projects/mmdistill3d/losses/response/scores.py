"""Distances between class scores, and where on a map they count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FORMS = ('quality', 'kl', 'mse')
_EPS = 1e-6


def score_distance(logits: Tensor, target: Tensor, form: str) -> Tensor:
    r"""Return the distance of sigmoid scores from soft targets, elementwise; zero where they agree.

    With :math:`p = \sigma(\text{logit})`, target ``t`` and their binary cross entropy ``H(t, p)``:

    - ``'quality'``: :math:`(p - t)^2 H(t, p)`, the quality focal loss of Li et al., "Generalized
      Focal Loss", NeurIPS 2020: cells that agree, nearly all of a map, count for little;
    - ``'kl'``: :math:`H(t, p) - H(t)`, whose gradient in the logit is :math:`p - t`;
    - ``'mse'``: :math:`(p - t)^2`, whose gradient fades where the student is sure, also wrongly.

    Args:
        logits: The student's, any shape.
        target: The teacher's scores in ``[0, 1]``, of the same shape.
        form: One of the above.
    """
    difference = (logits.sigmoid() - target).square()
    if form == 'mse':
        return difference
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    if form == 'quality':
        return difference * cross_entropy
    certain = torch.special.xlogy(target, target) + torch.special.xlogy(1 - target, 1 - target)
    return cross_entropy + certain


def check_form(form: str) -> str:
    if form not in FORMS:
        raise ValueError(f'form is one of {FORMS}, not {form!r}')
    return form


def logits_of(values: Tensor, kind: str) -> Tensor:
    """Return logits of ``kind='logits'`` or ``'probabilities'``."""
    return values if kind == 'logits' else values.clamp(_EPS, 1 - _EPS).logit()


def scores_of(values: Tensor, kind: str) -> Tensor:
    """Return probabilities of ``kind='logits'`` or ``'probabilities'``."""
    return values.sigmoid() if kind == 'logits' else values


def weighted_ratio(values: Tensor, weights: Tensor) -> Tensor:
    """``sum(weights * values) / sum(weights)``; zero, with a gradient, where nothing counts.

    Values without weight may be infinite.
    """
    weighted = torch.where(weights > 0, weights * values, 0)
    return weighted.sum() / weights.sum().clamp(min=_EPS)

"""The contrastive loss of CRD as one pass over a bank, with its gradient."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Up to this score, exp(-score) is a normal number of float32 and the fast form is exact.
_FAST_SCORE = 80.0


def noise_contrastive_loss(
    anchors: Tensor,
    bank: Tensor,
    index: Tensor | None,
    num_negatives: float,
    temperature: float,
    log_z: float | Tensor,
    counts: Tensor | None = None,
    chunk_size: int = 16384,
    positives: Tensor | None = None,
) -> Tensor:
    r"""Loss of each anchor against its positive row and negative rows of a bank.

    With :math:`x_n = \langle v, M_n \rangle / T - \log Z - \log c'`, :math:`c = K / N` and
    :math:`c' = c + 10^{-7}`:

    .. math:: L = \mathrm{softplus}(-x_{i}) + \sum_n w_n\, \mathrm{softplus}(x_n) + K \log(c' / c)

    where :math:`w_n` is how often row ``n`` was drawn as a negative. Without ``counts`` it is the
    expectation over uniform draws that never take the anchor's own row: ``K / (N - 1)`` for every
    other row, which needs no draws and has no noise. Summing over rows by their weights gives the
    same value and gradient as gathering the ``K`` drawn rows, by two matrix products.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020.

    Args:
        anchors: Embeddings ``(B, D)`` of unit length.
        bank: Rows ``(N, D)``; no gradient flows into them.
        index: The own row of each anchor, ``(B,)``; not needed with ``counts`` and ``positives``.
        num_negatives: ``K``.
        temperature: ``T``.
        log_z: Logarithm of the normalising constant ``Z``.
        counts: Draws of each row for each anchor, ``(B, N)``, rows summing to ``K``.
        chunk_size: Rows per step; memory is a few times ``B * chunk_size`` numbers.
        positives: Embeddings ``(B, D)`` to agree with instead of the own rows; no gradient.

    Returns:
        Loss of each anchor, ``(B,)``.
    """
    scale, offset = 1 / temperature, score_offset(num_negatives, bank.shape[0], log_z)
    with torch.no_grad(), torch.autocast(anchors.device.type, enabled=False):
        v = anchors.detach()
        own_rows = None if index is None else bank[index].to(v.dtype)
        terms = negative_terms(v, bank, scale, offset, counts, chunk_size)
        if counts is None:
            terms = without_row(terms, v, own_rows, scale, offset)
            terms = terms.times(num_negatives / max(bank.shape[0] - 1, 1))
        positives = own_rows if positives is None else positives.detach()
        terms = terms.plus(positive_terms(v, positives, scale, offset))
    constant = score_constant(num_negatives, bank.shape[0])
    return attach_gradient(anchors, terms) + constant


def score_offset(num_negatives: float, num_rows: int, log_z: float | Tensor) -> float | Tensor:
    """Return ``log Z + log c'``, which is subtracted from all scores."""
    return log_z + math.log(num_negatives / num_rows + 1e-7)


def score_constant(num_negatives: float, num_rows: int) -> float:
    """Return ``K log(c' / c)``, a constant of the published formula."""
    return num_negatives * math.log1p(1e-7 * num_rows / num_negatives)


class Terms(NamedTuple):
    """A sum of costs and its gradient.

    Args:
        loss: Sum for each anchor, ``(B,)``.
        grad: Gradient of that sum by the anchor, ``(B, D)``.
    """

    loss: Tensor
    grad: Tensor

    def plus(self, other: Terms) -> Terms:
        """Add the sums."""
        return Terms(self.loss + other.loss, self.grad + other.grad)

    def times(self, factor: float | Tensor) -> Terms:
        """Multiply the sums by a number, or by one for each anchor ``(B,)``."""
        column = factor[:, None] if isinstance(factor, Tensor) and factor.dim() else factor
        return Terms(self.loss * factor, self.grad * column)


def negative_terms(
    anchors: Tensor,
    rows: Tensor,
    scale: float,
    offset: float | Tensor,
    weights: Tensor | None = None,
    chunk_size: int = 16384,
) -> Terms:
    """Sum ``w_n softplus(<v, M_n> * scale - offset)`` over rows, reading each row once.

    Args:
        anchors: ``(B, D)``.
        rows: ``(N, D)``, of any floating type.
        scale: ``1 / T``.
        offset: ``log Z + log c'``.
        weights: ``(B, N)``; without them all are 1.
        chunk_size: Rows per step; two blocks of ``B * chunk_size`` numbers are allocated.
    """
    count, num_rows = len(anchors), len(rows)
    loss, grad = anchors.new_zeros(count), torch.zeros_like(anchors)
    scaled = anchors * -scale
    blocks = anchors.new_empty(2, count * min(chunk_size, num_rows))
    for start in range(0, num_rows, chunk_size):
        part = rows[start : start + chunk_size].to(anchors.dtype)
        scores, cost = (block[: count * len(part)].view(count, len(part)) for block in blocks)
        torch.mm(scaled, part.T, out=scores).add_(offset)
        slope, cost = _slope_and_cost(scores, cost)
        if weights is not None:
            weight = weights[:, start : start + chunk_size]
            slope.mul_(weight)
            cost.mul_(weight)
        loss += cost.sum(1)
        grad.addmm_(slope, part, alpha=scale)
    return Terms(loss, grad)


def _slope_and_cost(scores: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """From ``-x`` return sigmoid(x), in its place, and softplus(x), in ``out``.

    On a CPU ``softplus(x) = -log(sigmoid(-x))`` takes a tenth of the time of ``F.softplus``, whose
    log1p is not vectorised there; for tiny terms it rounds at the type's epsilon, without bias.
    Large scores, as of embeddings that are not of unit length, would make it infinite.
    """
    if scores.device.type != 'cpu' or not scores.numel() or scores.amin() < -_FAST_SCORE:
        cost = F.softplus(scores.neg_())
        return scores.sigmoid_(), cost
    scores.sigmoid_()
    torch.log(scores, out=out).neg_()
    return scores.neg_().add_(1), out


def drawn_terms(
    anchors: Tensor,
    bank: Tensor,
    draws: Tensor,
    scale: float,
    offset: float | Tensor,
    weights: Tensor | None = None,
    chunk_size: int = 16384,
) -> Terms:
    """Sum over drawn rows by gathering them, an anchor at a time: for banks longer than the draws.

    The rows of a step go into one buffer, from which scores and gradient are read while it lies in
    the processor's cache.

    Args:
        anchors: ``(B, D)``.
        bank: ``(N, D)``.
        draws: Rows of each anchor's negatives, ``(B, K)``.
        scale: ``1 / T``.
        offset: ``log Z + log c'``.
        weights: Weight of each draw, ``(B, K)``.
        chunk_size: Rows per step.
    """
    loss, grad = [], []
    count = draws.shape[1]
    buffer = bank.new_empty(min(chunk_size, count), bank.shape[1])
    for number in range(len(anchors)):
        one = slice(number, number + 1)
        terms = Terms(anchors.new_zeros(1), torch.zeros_like(anchors[one]))
        for start in range(0, count, chunk_size):
            part = slice(start, start + chunk_size)
            drawn = draws[number, part]
            rows = torch.index_select(bank, 0, drawn, out=buffer[: len(drawn)])
            weight = None if weights is None else weights[one, part]
            terms = terms.plus(negative_terms(anchors[one], rows, scale, offset, weight, len(rows)))
        loss.append(terms.loss)
        grad.append(terms.grad)
    if not loss:
        return Terms(anchors.new_zeros(0), torch.zeros_like(anchors))
    return Terms(torch.cat(loss), torch.cat(grad))


def without_row(
    terms: Terms, anchors: Tensor, rows: Tensor, scale: float, offset: float | Tensor
) -> Terms:
    """Take one row an anchor, ``(B, D)``, out of a sum over all rows."""
    scores = (anchors * rows).sum(1) * scale - offset
    slope = scores.sigmoid()[:, None] * scale
    return Terms(terms.loss - F.softplus(scores), terms.grad - slope * rows)


def positive_terms(
    anchors: Tensor, positives: Tensor, scale: float, offset: float | Tensor
) -> Terms:
    """Return ``softplus(-x)`` of each anchor and its positive, ``(B, D)``."""
    scores = (anchors * positives).sum(1) * scale - offset
    slope = torch.sigmoid(-scores)[:, None] * -scale
    return Terms(F.softplus(-scores), slope * positives)


def log_sum_exp(anchors: Tensor, rows: Tensor, scale: float, chunk_size: int = 16384) -> Tensor:
    """Return ``log sum_n exp(<v, M_n> * scale)`` of each anchor, ``(B,)``."""
    parts = [
        torch.logsumexp(anchors @ rows[start : start + chunk_size].to(anchors.dtype).T * scale, 1)
        for start in range(0, len(rows), chunk_size)
    ]
    return torch.logsumexp(torch.stack(parts), 0)


def attach_gradient(anchors: Tensor, terms: Terms) -> Tensor:
    """Return the loss ``(B,)`` such that its gradient by the anchors is the one that is known."""
    return _KnownGradient.apply(anchors, terms.loss, terms.grad)


class _KnownGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchors: Tensor, loss: Tensor, grad: Tensor) -> Tensor:
        ctx.save_for_backward(grad)
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        return grad_loss[:, None] * grad, None, None

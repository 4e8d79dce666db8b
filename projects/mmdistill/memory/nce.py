"""The contrastive loss of CRD as one pass over a bank, with its gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def noise_contrastive_loss(
    anchors: Tensor,
    bank: Tensor,
    index: Tensor | None,
    num_negatives: int,
    temperature: float,
    log_z: float,
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
    num_rows = bank.shape[0]
    ratio = num_negatives / num_rows
    offset = log_z + math.log(ratio + 1e-7)
    with torch.autocast(anchors.device.type, enabled=False):
        loss = _BankLoss.apply(
            anchors,
            bank,
            index,
            counts,
            positives,
            num_negatives,
            1 / temperature,
            offset,
            chunk_size,
        )
    return loss + num_negatives * math.log((ratio + 1e-7) / ratio)


class _BankLoss(torch.autograd.Function):
    """The sum above. Its gradient is computed on the way: rows are read once, scores not kept."""

    @staticmethod
    def forward(
        ctx: Any,
        anchors: Tensor,
        bank: Tensor,
        index: Tensor | None,
        counts: Tensor | None,
        positives: Tensor | None,
        num_negatives: int,
        scale: float,
        offset: float,
        chunk_size: int,
    ) -> Tensor:
        num_rows = bank.shape[0]
        loss = anchors.new_zeros(anchors.shape[0])
        grad = torch.zeros_like(anchors)
        for start in range(0, num_rows, chunk_size):
            rows = bank[start : start + chunk_size].to(anchors.dtype)
            scores = (anchors @ rows.T).mul_(scale).sub_(offset)
            cost = F.softplus(scores)
            slope = scores.sigmoid_()
            if counts is not None:
                weights = counts[:, start : start + chunk_size]
                cost, slope = cost.mul_(weights), slope.mul_(weights)
            loss += cost.sum(1)
            grad.addmm_(slope, rows)

        if counts is None:
            own_rows = bank[index].to(anchors.dtype)
            own = (anchors * own_rows).sum(1) * scale - offset
            weight = num_negatives / max(num_rows - 1, 1)
            loss = weight * (loss - F.softplus(own))
            grad = weight * (grad - own.sigmoid()[:, None] * own_rows)
        if positives is None:
            positives = bank[index].to(anchors.dtype)
        score = (anchors * positives).sum(1) * scale - offset
        loss += F.softplus(-score)
        grad -= torch.sigmoid(-score)[:, None] * positives
        ctx.save_for_backward(grad * scale)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return (grad_loss[:, None] * grad, *([None] * 8))

"""How much each row of a bank weighs as a negative of each anchor."""

from __future__ import annotations

import torch
from torch import Tensor


def row_weights(
    index: Tensor,
    num_rows: int,
    dtype: torch.dtype,
    draws: Tensor | None = None,
    labels: Tensor | None = None,
    row_labels: Tensor | None = None,
    first_row: int = 0,
) -> Tensor:
    """Count the draws of a bank's rows; rows of the anchor's class and its own row count 0.

    Args:
        index: Own row of each anchor, ``(B,)``.
        num_rows: Rows ``R`` of this part of the bank.
        dtype: Type of the weights.
        draws: Drawn rows, ``(B, K)``; without them each row counts 1.
        labels: Class of each anchor, ``(B,)``; without them classes do not matter.
        row_labels: Class of each row of this part, ``(R,)``; -1 where it is not known.
        first_row: Number of this part's first row in the whole bank, by which ``index`` and
            ``draws`` count.

    Returns:
        ``(B, R)``.
    """
    # A column more takes what lies outside of this part.
    if draws is None:
        weights = torch.ones(len(index), num_rows + 1, dtype=dtype, device=index.device)
    else:
        weights = torch.zeros(len(index), num_rows + 1, dtype=dtype, device=index.device)
        one = torch.ones((), dtype=dtype, device=index.device)
        weights.scatter_add_(1, _column(draws, first_row, num_rows), one.expand(draws.shape))
    weights.scatter_(1, _column(index, first_row, num_rows)[:, None], 0)
    weights = weights[:, :-1]
    if labels is not None:
        weights = weights.mul_(row_labels != labels[:, None])
    return weights


def draw_weights(
    index: Tensor,
    draws: Tensor,
    dtype: torch.dtype,
    labels: Tensor | None = None,
    row_labels: Tensor | None = None,
) -> Tensor:
    """Weigh draws ``(B, K)`` or ``(K,)``: 1, or 0 for the own row and rows of the own class.

    Args are those of :func:`row_weights`, with the classes ``row_labels`` of the whole bank.

    Returns:
        ``(B, K)``.
    """
    allowed = draws != index[:, None]
    if labels is not None:
        allowed = allowed & (row_labels[draws] != labels[:, None])
    return allowed.to(dtype)


def scaled_to(total: float, weights: Tensor, sums: Tensor | None = None) -> Tensor:
    """Scale each anchor's weights ``(B, R)`` to a sum, in place; all zeros stay zeros.

    Args:
        total: The sum they shall have.
        weights: ``(B, R)``.
        sums: The sums that they have, ``(B,)``, where these weights are a part.
    """
    sums = weights.sum(1) if sums is None else sums
    factor = torch.where(sums > 0, total / sums, 0)
    return weights.mul_(factor[:, None])


def _column(rows: Tensor, first_row: int, num_rows: int) -> Tensor:
    column = rows - first_row
    return torch.where((column >= 0) & (column < num_rows), column, num_rows)

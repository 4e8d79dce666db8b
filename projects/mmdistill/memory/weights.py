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
    first_row: int | None = None,
) -> Tensor:
    """Count the draws of a bank's rows; rows of the anchor's class and its own row count 0.

    Args:
        index: Own row of each anchor, ``(B,)``.
        num_rows: Rows ``R`` of this part of the bank.
        dtype: Type of the weights.
        draws: Drawn rows, ``(B, K)``; without them each row counts 1.
        labels: Class of each anchor, ``(B,)``; without them classes do not matter.
        row_labels: Class of each row of this part, ``(R,)``; -1 where it is not known.
        first_row: Number of this part's first row in the bank, by which ``index`` and ``draws``
            count; ``None`` if it is the whole bank.

    Returns:
        ``(B, R)``.
    """
    if first_row is not None:
        index, draws = (_within(rows, first_row, num_rows) for rows in (index, draws))
    # A column more takes what lies outside of this part.
    shape = (len(index), num_rows + 1)
    if draws is None:
        weights = torch.ones(shape, dtype=dtype, device=index.device)
    else:
        weights = torch.zeros(shape, dtype=dtype, device=index.device)
        one = torch.ones((), dtype=dtype, device=index.device)
        weights.scatter_add_(1, draws, one.expand(draws.shape))
    weights = weights.scatter_(1, index[:, None], 0)[:, :-1]
    return weights if labels is None else weights.mul_(row_labels != labels[:, None])


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


def factor_to(total: float, sums: Tensor) -> Tensor:
    """Return what scales each anchor's weights, with sums ``(B,)``, to a total; 0 where all are."""
    return torch.where(sums > 0, total / sums, 0)


def _within(rows: Tensor | None, first_row: int, num_rows: int) -> Tensor | None:
    """Count rows from the first of a part on; those outside become ``num_rows``."""
    if rows is None:
        return None
    rows = rows - first_row
    return torch.where((rows >= 0) & (rows < num_rows), rows, num_rows)

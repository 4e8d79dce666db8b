"""How losses turn values at positions into one number."""

from __future__ import annotations

import torch
from torch import Tensor


def as_float(value: Tensor) -> Tensor:
    """Return half-precision values as float32 and others as they are.

    Under autocast a layer returns fp16 or bf16, whose sums over a BEV map overflow or lose all
    small terms.
    """
    return value.float() if value.element_size() < 4 else value


def divide(value: Tensor, total: Tensor) -> Tensor:
    """Return ``value / total``, where a total of 0, as of weights, leaves the value as it is.

    Not by a tiny number: the gradient's ``1 / tiny`` overflows, and ``0 * inf`` is no zero.
    """
    return value / torch.where(total > 0, total, 1)


def mean(values: Tensor) -> Tensor:
    """Mean of all values; 0, with a gradient path, where there are none."""
    return values.sum() / max(values.numel(), 1)


def mean_of(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of all values; 0, with a gradient path, where nothing has weight."""
    return divide((weight * values).sum(), weight.sum())


def weighted_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Average values over samples and positions, weighted by a mask where there is one.

    Args:
        values: ``(B, H, W)`` or ``(B, 1, H, W)``; finite also where the mask is 0.
        mask: Weights of the positions, ``(B, 1, H, W)`` or ``(B, H, W)``, not negative. Where they
            are all zero, as in a batch without boxes, the result is zero.

    Returns:
        ``mean(values)``, or ``sum(mask * values) / sum(mask)``.

    Raises:
        ValueError: The mask has other positions than the values.
    """
    if values.dim() == 4:
        values = values.squeeze(1)
    if mask is None:
        return mean(values)
    return mean_of(values, mask_like(values, mask))


def mask_like(values: Tensor, mask: Tensor) -> Tensor:
    """Return a mask ``(B, 1, H, W)`` or ``(B, H, W)`` in shape and type of ``(B, H, W)`` values.

    Raises:
        ValueError: The mask has another batch, height or width.
    """
    flat = mask.squeeze(1) if mask.dim() == 4 else mask
    if flat.shape != values.shape:
        raise ValueError(
            f'the mask is {tuple(mask.shape)}, the feature has batch, height and width '
            f'{tuple(values.shape)}; a mask is (B, 1, H, W) at the resolution of the '
            "student's feature behind its connector"
        )
    return flat.detach().to(values.dtype)


def prepare(
    student: Tensor, teacher: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return what a dense loss computes with, of features that have passed its checks.

    Features must be finite also where the mask is 0: the result is not a number otherwise. To hide
    a broken cell here would cost a copy of both maps and save nothing, as the student's own losses
    read the cell, and a teacher that returns one should be noticed.

    Args:
        student: ``(B, C, ...)``.
        teacher: ``(B, C', ...)``.
        mask: Weights of the positions, ``(B, 1, H, W)``, or ``None``.

    Returns:
        Both features in full precision, the teacher's detached, and the mask as ``(B, 1, H, W)`` in
        the student's type.

    Raises:
        ValueError: The mask has another batch, height or width than the student's map.
    """
    student = as_float(student)
    if mask is not None:
        mask = mask_like(student[:, 0], mask)[:, None]
    return student, as_float(teacher.detach()), mask

"""How losses turn values at positions into one number."""

from __future__ import annotations

import torch
from torch import Tensor


def as_float(value: Tensor) -> Tensor:
    """Return half-precision values as float32 and others as they are.

    Under autocast a layer returns fp16 or bf16, whose sums over a BEV map overflow or lose all
    small terms.
    """
    return value.float() if value.dtype.itemsize < 4 else value


def weighted_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Average values over samples and positions, weighted by a mask where there is one.

    Args:
        values: ``(B, H, W)`` or ``(B, 1, H, W)``.
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
        return values.mean()
    mask = mask_like(values, mask)
    total = mask.sum()
    # Not clamped to a tiny number: the gradient's 1 / tiny overflows, and 0 * inf is no zero.
    return (mask * values).sum() / torch.where(total > 0, total, 1)


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

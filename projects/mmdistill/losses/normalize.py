"""Unit length without dividing by zero, for losses that compare directions."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_length(
    feature: Tensor,
    dim: int | tuple[int, ...],
    weight: Tensor | None = None,
    floor: float | Tensor = 1e-6,
) -> Tensor:
    r"""Return :math:`1 / \sqrt{\sum w f^2}`, or 0 where the length is below ``floor``.

    So a vector times its inverse length has length 1, and a zero vector, which has no direction,
    stays zero and passes no gradient (a division by a tiny constant would pass a huge one).

    Args:
        feature: Any tensor, in float32 or float64.
        dim: Dimensions of a vector; they are kept with size 1.
        weight: Weights ``w`` of the elements, broadcast to ``feature``.
        floor: Length of the shortest vector that has a direction.
    """
    weighted = feature if weight is None else feature * weight.sqrt()
    length = torch.linalg.vector_norm(weighted, dim=dim, keepdim=True)
    has_direction = length > floor
    return torch.where(has_direction, length, 1).reciprocal() * has_direction


def cosine(
    student: Tensor,
    teacher: Tensor,
    dim: int | tuple[int, ...],
    weight: Tensor | None = None,
    floor: tuple[float | Tensor, float | Tensor] = (1e-6, 1e-6),
) -> Tensor:
    r"""Return :math:`\sum w s t / (\|s\|_w \|t\|_w)` over ``dim``; 0 where a length is 0.

    Args:
        student: Any tensor, in float32 or float64.
        teacher: Of the same shape.
        dim: Dimensions of a vector; they are kept with size 1.
        weight: Weights ``w`` of the elements, broadcast to both.
        floor: Shortest lengths that have a direction, the student's and the teacher's.
    """
    scale = inverse_length(student, dim, weight, floor[0])
    scale = scale * inverse_length(teacher, dim, weight, floor[1])
    return _inner(student, teacher, dim, weight) * scale


def squared_distance(
    student: Tensor, teacher: Tensor, dim: int | tuple[int, ...], weight: Tensor | None = None
) -> Tensor:
    r"""Return :math:`\sum w (\hat s - \hat t)^2` over ``dim``, of vectors of unit length.

    Arguments and lengths are those of :func:`cosine`. It is two minus twice the cosine, and one
    where a single vector is zero: no unit vector is ever stored.
    """
    scales = [inverse_length(feature, dim, weight) for feature in (student, teacher)]
    lengths = sum((scale > 0).to(scale.dtype) for scale in scales)
    return lengths - 2 * _inner(student, teacher, dim, weight) * scales[0] * scales[1]


def _inner(
    student: Tensor, teacher: Tensor, dim: int | tuple[int, ...], weight: Tensor | None
) -> Tensor:
    weighted = teacher if weight is None else teacher * weight
    return (student * weighted).sum(dim, keepdim=True)

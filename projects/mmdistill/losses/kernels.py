"""Kernels: how far apart two sets of vectors lie, whichever of them is where in its set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KERNELS = ('linear', 'polynomial', 'rbf')


@dataclass(frozen=True)
class Kernel:
    r"""A similarity ``k`` of two vectors.

    Args:
        name: ``'linear'``, :math:`\langle x, y \rangle`; ``'polynomial'``,
            :math:`(\langle x, y \rangle + c)^d`; or ``'rbf'``,
            :math:`\exp(-\|x - y\|^2 / (2 \sigma^2))`.
        degree: ``d`` of the polynomial.
        offset: ``c`` of the polynomial.
        bandwidth: :math:`\sigma` of ``'rbf'``; ``None`` takes for :math:`\sigma^2` the mean squared
            distance of all pairs of a vector of one set with one of the other, without a gradient.

    Raises:
        ValueError: Another name, or a number that makes no sense.
    """

    name: str
    degree: int = 2
    offset: float = 0.0
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        if self.name not in KERNELS:
            raise ValueError(f'kernel is one of {KERNELS}, not {self.name!r}')
        if self.degree < 1:
            raise ValueError(f'degree is 1 or more, not {self.degree}')
        if self.bandwidth is not None and self.bandwidth <= 0:
            raise ValueError(f'bandwidth is a length above 0, or None, not {self.bandwidth}')

    def discrepancy(
        self, one: Tensor, other: Tensor, one_weight: Tensor, other_weight: Tensor
    ) -> Tensor:
        r"""Return the squared maximum mean discrepancy of two sets in each of ``G`` groups.

        :math:`\sum_{ij} u_i u_j k(x_i, x_j) + \sum_{ij} v_i v_j k(y_i, y_j)
        - 2 \sum_{ij} u_i v_j k(x_i, y_j)`, as ``(G,)``. The sums nearly cancel: not for autocast.

        Args:
            one: Vectors ``x``, ``(G, M, C)``.
            other: Vectors ``y``, ``(G, N, C)``.
            one_weight: ``u``, ``(G, M)``, which sum to 1 in each group.
            other_weight: ``v``, ``(G, N)``, which sum to 1. A group without weight gives 0.
        """
        if self.name == 'linear':  # the squared distance of the means
            means = (one_weight[:, None] @ one, other_weight[:, None] @ other)
            return (means[0] - means[1]).square().sum((1, 2))
        products = (one @ one.mT, other @ other.mT, one @ other.mT)
        if self.name == 'polynomial':
            values = [(product + self.offset) ** self.degree for product in products]
        else:
            values = self._rbf(*products, one_weight, other_weight)
        own = _mean(values[0], one_weight, one_weight)
        others = _mean(values[1], other_weight, other_weight)
        return own + others - 2 * _mean(values[2], one_weight, other_weight)

    def _rbf(
        self, own: Tensor, others: Tensor, mixed: Tensor, one_weight: Tensor, other_weight: Tensor
    ) -> list[Tensor]:
        one, other = own.diagonal(dim1=1, dim2=2), others.diagonal(dim1=1, dim2=2)
        distances = [
            (a[:, :, None] + b[:, None] - 2 * product).clamp(min=0)
            for a, b, product in ((one, one, own), (other, other, others), (one, other, mixed))
        ]
        if self.bandwidth is not None:
            variance = self.bandwidth**2
        else:
            mean = _mean(distances[2].detach(), one_weight, other_weight)
            variance = torch.where(mean > 0, mean, 1)[:, None, None]
        return [(-distance / (2 * variance)).exp() for distance in distances]


def _mean(table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Mean of tables ``(G, M, N)`` by weights ``(G, M)`` and ``(G, N)``, as ``(G,)``."""
    return torch.einsum('gi,gij,gj->g', rows, table, columns)

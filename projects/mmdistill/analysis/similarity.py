"""How alike two layers see the same places: linear CKA."""

from __future__ import annotations

import torch
from torch import Tensor


class LinearCKA:
    """Linear centred kernel alignment of two features over the same places.

    Between 0 and 1; 1 where one is a rotation and scaling of the other, whatever their widths.
    Places are added batch by batch; only moments are kept, so that nothing is sampled.

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019.

    Example:
        >>> features = torch.randn(100, 8)
        >>> similarity = LinearCKA()
        >>> similarity.add(features, 3 * features.flip(1))
        >>> round(similarity.value(), 6)
        1.0
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums: tuple[Tensor, Tensor] | None = None
        self._products: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, one: Tensor, other: Tensor) -> None:
        """Add places.

        Args:
            one: ``(N, C)`` features.
            other: ``(N, D)`` features of the other layer at the same places.

        Raises:
            ValueError: They are not of that form.
        """
        if one.dim() != 2 or other.dim() != 2 or len(one) != len(other):
            raise ValueError(
                f'linear CKA compares (N, C) with (N, D), not {tuple(one.shape)} with '
                f'{tuple(other.shape)}'
            )
        one, other = one.double(), other.double()
        sums = (one.sum(0), other.sum(0))
        products = (one.T @ one, other.T @ other, one.T @ other)
        if self._sums is not None:
            sums = tuple(a + b for a, b in zip(self._sums, sums, strict=True))
            products = tuple(a + b for a, b in zip(self._products, products, strict=True))
        self._count += len(one)
        self._sums, self._products = sums, products

    def value(self) -> float:
        """Return the similarity of what was added.

        Raises:
            ValueError: Nothing was added, or one of the features is the same at all places.
        """
        if self._sums is None:
            raise ValueError('linear CKA of no places: add some first')
        one, other = (total / self._count for total in self._sums)
        means = (torch.outer(one, one), torch.outer(other, other), torch.outer(one, other))
        own, others, cross = (
            (product / self._count - mean).norm()
            for product, mean in zip(self._products, means, strict=True)
        )
        scale = (own * others).item()
        if not scale > 1e-20:
            raise ValueError('linear CKA is not defined: a feature is the same at all places')
        return (cross.square() / scale).item()

"""Items: what a relational loss relates to each other, and how much each of them counts.

The papers relate the images of a batch of 64 and more. A batch of LiDAR scenes has two to four, so
items can lie within a map instead. Every relational loss takes ``items``:

=============  ===================================================================================
``'scene'``    An item is a whole map, averaged: the papers' relations, for large batches.
``(h, w)``     An item is a cell of an ``h x w`` grid laid over each map, averaged. Items of one
               map are related.
``n``          An item is a single position; ``n`` are drawn for each map without replacement,
               with chances proportional to the mask (evenly without one). Items of one map are
               related, so with a mask of boxes it is objects and their parts.
=============  ===================================================================================

With a mask, averages are weighted by it, and an item counts by the mean of the mask in it; drawn
positions count alike, as their weight went into the draw, and those of weight zero never count.
Features that are no maps, ``(B, C)``, are items as they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdistill.connectors.checks import check_maps
from mmdistill.contracts import LinkLoss
from mmdistill.losses.normalize import inverse_length
from mmdistill.losses.reduce import divide, prepare
from mmdistill.reading.address import describe
from mmdistill.reading.shapes import Layer


class Items(NamedTuple):
    """Groups of ``M`` items; only items of one group are related.

    Attributes:
        student: Features, ``(G, M, Cs)``.
        teacher: Features of the same items, ``(G, M, Ct)``, without gradient.
        weight: How much each item counts, ``(G, M)``, at least 0.
    """

    student: Tensor
    teacher: Tensor
    weight: Tensor


class ItemLoss(LinkLoss):
    """Base of the losses over items: a subclass says what ``compare`` does with them.

    Args:
        items: ``'scene'``, ``(h, w)`` or a number of positions, see the module's docstring.
        loss_weight: Factor of the loss.

    Raises:
        ValueError: ``items`` is none of these.
    """

    needs = ('mask',)

    def __init__(
        self, items: str | int | tuple[int, int] = (8, 8), loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.items = _check_items(items)
        self.loss_weight = loss_weight

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Check the two layers as far as they are known."""
        if student.value is not None and teacher.value is not None:
            _check_features(student.value, teacher.value, None)
            if student.value.dim() > 2:
                _check_finer(self.items, tuple(student.value.shape[2:]))

    def forward(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the loss between two features.

        Args:
            student: ``(B, Cs, H, W)`` or ``(B, Cs)``.
            teacher: ``(B, Ct, H, W)`` or ``(B, Ct)``.
            mask: Weights of the positions of maps, ``(B, 1, H, W)``, at least 0.

        Raises:
            ValueError: Neither two maps of one size nor two matrices of one length, or the maps
                have fewer cells than the grid of ``items``.
        """
        items = take_items(student, teacher, self.items, mask)
        # Not under autocast: Gram matrices and distances need more than half precision.
        with torch.autocast(items.student.device.type, enabled=False):
            return self.loss_weight * self.compare(*items)

    def compare(self, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
        """Return the scalar loss of :class:`Items`."""
        raise NotImplementedError


def take_items(
    student: Tensor,
    teacher: Tensor,
    items: str | int | tuple[int, int],
    mask: Tensor | None = None,
) -> Items:
    """Take the same items from the student's and the teacher's feature.

    Args:
        student: ``(B, Cs, H, W)`` or ``(B, Cs)``.
        teacher: ``(B, Ct, H, W)`` or ``(B, Ct)``.
        items: ``'scene'``, ``(h, w)`` or a number of positions.
        mask: Weights of the positions, ``(B, 1, H, W)``.

    Raises:
        ValueError: Neither two maps of one size nor two matrices of one length, or the maps have
            fewer cells than the grid.
    """
    _check_features(student, teacher, mask)
    student, teacher, mask = prepare(student, teacher, mask)
    if student.dim() == 2:
        return Items(student[None], teacher[None], student.new_ones(1, len(student)))
    _check_finer(items, tuple(student.shape[2:]))
    if isinstance(items, int):
        return _draw_positions(student, teacher, items, mask)
    cells = (1, 1) if items == 'scene' else items
    features = [_average_cells(feature, cells, mask) for feature in (student, teacher)]
    if mask is None:
        weight = student.new_ones(features[0].shape[:2])
    else:
        weight = _pool(mask, cells)[..., 0]
    if items == 'scene':  # one group: the scenes of the batch
        return Items(*(feature.transpose(0, 1) for feature in features), weight.T)
    return Items(*features, weight)


def unit(vectors: Tensor, weight: Tensor | None = None) -> Tensor:
    """Scale the last axis to length one, where squares may be weighted.

    Zero vectors, as of an empty cell or a dead channel, stay zero and have no gradient. Tables of
    inner products have small entries, hence the low floor.
    """
    return vectors * inverse_length(vectors, -1, weight, floor=1e-12)


def pair_weight(weight: Tensor) -> Tensor:
    """Weights ``(G, M)`` of items to weights ``(G, M, M)`` of their pairs, 0 for an item itself."""
    pairs = weight[:, :, None] * weight[:, None, :]
    return pairs * (1 - torch.eye(pairs.shape[1], dtype=pairs.dtype, device=pairs.device))


def _check_items(items: str | int | tuple[int, int]) -> str | int | tuple[int, int]:
    if items == 'scene' or (type(items) is int and items > 0):
        return items
    is_grid = isinstance(items, (tuple, list)) and len(items) == 2
    if is_grid and all(type(size) is int and size > 0 for size in items):
        return tuple(items)
    raise ValueError(
        f"items is 'scene', a grid (h, w) or a number of positions, not {items!r}; "
        'for example items=(8, 8)'
    )


def _check_finer(items: str | int | tuple[int, int], size: tuple[int, ...]) -> None:
    """Demand that a map has the items: cells that share a position would be alike in any model."""
    if isinstance(items, int):
        fits = size[0] * size[1] > 1
    else:
        fits = items == 'scene' or (items[0] <= size[0] and items[1] <= size[1])
    if not fits:
        raise ValueError(
            f'maps of {size} positions do not hold the items {items!r}: several items would be one '
            f'position, and their relations say nothing; give a grid of at most {size}, or '
            "items='scene', which relates the samples of the batch"
        )


def _check_features(student: Any, teacher: Any, mask: Tensor | None) -> None:
    is_matrix = [isinstance(item, Tensor) and item.dim() == 2 for item in (student, teacher)]
    if not all(is_matrix):
        check_maps(student, teacher)
    elif len(student) != len(teacher):
        raise ValueError(
            f'student and teacher need the same items: the student is {describe(student)}, the '
            f'teacher {describe(teacher)}'
        )
    elif mask is not None:
        raise ValueError(
            f'a mask weighs positions of maps, and the student is {describe(student)}: remove the '
            "link's mask"
        )


def _average_cells(feature: Tensor, cells: tuple[int, int], mask: Tensor | None) -> Tensor:
    """``(B, C, H, W)`` to weighted means ``(B, h * w, C)``; zeros where a cell has no weight."""
    if mask is None:
        return _pool(feature, cells)
    return divide(_pool(feature * mask, cells), _pool(mask, cells))


def _pool(feature: Tensor, cells: tuple[int, int]) -> Tensor:
    """Means of the cells of ``adaptive_avg_pool2d``, ``(B, C, H, W)`` to ``(B, h * w, C)``.

    As two matrix products, which read a large map several times faster.
    """
    rows, columns = (
        F.adaptive_avg_pool1d(torch.eye(size, dtype=feature.dtype, device=feature.device), count)
        for size, count in zip(feature.shape[2:], cells, strict=True)
    )
    with torch.autocast(feature.device.type, enabled=False):
        pooled = (feature @ columns).transpose(2, 3) @ rows  # (B, C, w, h)
    return pooled.permute(0, 3, 2, 1).flatten(1, 2)


def _draw_positions(student: Tensor, teacher: Tensor, count: int, mask: Tensor | None) -> Items:
    chance = student.new_ones(len(student), student[0, 0].numel())
    if mask is not None:
        chance = mask.flatten(1)
    count = min(count, chance.shape[1])
    # The first of exponential clocks with these rates: a weighted draw without replacement.
    clocks = torch.empty_like(chance).exponential_()
    index = (chance / clocks).topk(count).indices
    weight = (chance.gather(1, index) > 0).to(student.dtype)
    features = (
        feature.flatten(2).gather(2, index[:, None].expand(-1, feature.shape[1], -1))
        for feature in (student, teacher)
    )
    return Items(*(feature.transpose(1, 2) for feature in features), weight)

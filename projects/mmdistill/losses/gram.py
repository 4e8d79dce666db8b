"""Gram losses: the student keeps how the teacher's channels correlate."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.connectors.checks import check_same_maps
from mmdistill.losses.items import unit
from mmdistill.losses.maps import MapLoss
from mmdistill.losses.reduce import divide, mean_of


@MODELS.register_module()
class ICKDLoss(MapLoss):
    r"""Inter-channel correlation: inner products of the channels over the positions.

    With :math:`G = F\, \mathrm{diag}(m)\, F^\top` of a map :math:`F` ``(C, H * W)`` and mask
    ``m`` (ones without one):

    .. math:: L = \mathrm{mean}_b\, \frac{1}{C} \|\tilde G^s - \tilde G^t\|_F^2

    with rows of length one, :math:`\tilde G_c = G_c / \|G_c\|_2` (``normalize=True``, the authors'
    code); with ``normalize=False`` the paper's :math:`\frac{1}{C^2}`, and :math:`G` divided by
    :math:`\sum m` so that it does not grow with the map. With a ``grid`` the map is cut into
    cells with a :math:`G` each, the paper's form for dense prediction; cells count by their
    mask's sum.

    Source: Liu et al., "Exploring Inter-Channel Correlation for Diversity-preserved Knowledge
    Distillation", ICCV 2021.

    Takes: maps (B, C, H, W) of one shape; mask.

    Config lines::

        student_connector=dict(type='ConvConnector'),
        loss=dict(type='ICKDLoss', grid=(4, 4), loss_weight=10.0)

    Args:
        grid: Cells ``(h, w)`` of the map.
        normalize: Rows of length one.
        loss_weight: Factor of the loss.
    """

    check_features = staticmethod(check_same_maps)

    def __init__(
        self,
        grid: tuple[int, int] = (1, 1),
        normalize: bool = True,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        if len(grid) != 2 or min(grid) < 1:
            raise ValueError(f'grid is the number of cells (h, w), not {grid!r}; e.g. (4, 4)')
        self.grid, self.normalize = tuple(grid), normalize

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        if mask is None:
            weight = self._cut(torch.ones_like(student[:, :1])).sum((1, 2))
            student, teacher = self._cut(student), self._cut(teacher)
        else:
            root = mask.sqrt()
            student, teacher = self._cut(student * root), self._cut(teacher * root)
            weight = self._cut(mask).sum((1, 2))
        # Not under autocast: a sum over a map needs more than half precision.
        with torch.autocast(student.device.type, enabled=False):
            difference = self._gram(student, weight) - self._gram(teacher, weight)
        each = difference.square().sum(2).mean(1)
        if not self.normalize:
            each = each / student.shape[1]
        return mean_of(each, weight)

    def _gram(self, cells: Tensor, weight: Tensor) -> Tensor:
        gram = OwnProduct.apply(cells)
        if self.normalize:
            return unit(gram)
        return divide(gram, weight[:, None, None])

    def _cut(self, feature: Tensor) -> Tensor:
        """``(B, C, H, W)`` to cells ``(B * h * w, C, positions)``, padded by zeros."""
        (batch, channels), (rows, columns) = feature.shape[:2], self.grid
        height, width = feature.shape[2:]
        padded = F.pad(feature, (0, -width % columns, 0, -height % rows))
        cells = padded.unflatten(3, (columns, -1)).unflatten(2, (rows, -1))  # (B, C, h, y, w, x)
        return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch * rows * columns, channels, -1)


class OwnProduct(torch.autograd.Function):
    """``F F^T`` of matrices ``(G, C, P)``, whose gradient takes one product, not two."""

    @staticmethod
    def forward(ctx: Any, feature: Tensor) -> Tensor:
        """``(G, C, P)`` to ``(G, C, C)``."""
        ctx.save_for_backward(feature)
        return feature @ feature.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """``(D + D^T) F``."""
        (feature,) = ctx.saved_tensors
        return (grad + grad.transpose(1, 2)) @ feature

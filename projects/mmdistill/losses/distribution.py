"""Distribution losses: the student's items are spread as the teacher's, whichever is where."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.connectors.checks import check_same_shape
from mmdistill.losses.items import ItemLoss, unit
from mmdistill.losses.kernels import Kernel
from mmdistill.losses.reduce import divide


@MODELS.register_module()
class MMDLoss(ItemLoss):
    r"""Maximum mean discrepancy between the student's and the teacher's items.

    With a kernel ``k`` and items weighted to sum to one in each group of related items:

    .. math::
        L = \sum_{ij} w_i w_j\, [k(s_i, s_j) + k(t_i, t_j) - 2 k(s_i, t_j)]

    averaged over groups. ``'linear'`` is :math:`\langle x, y \rangle`, so the loss is the squared
    distance of the means; ``'polynomial'`` :math:`(\langle x, y \rangle + c)^d`; ``'rbf'``
    :math:`\exp(-\|x - y\|^2 / (2 \sigma^2))`, where :math:`\sigma^2` defaults to the mean squared
    distance of all pairs of a student's with a teacher's item.

    Source: Gretton et al., "A Kernel Two-Sample Test", JMLR 2012; kernels as in Huang and Wang,
    "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017.

    Takes: maps (B, C, H, W) of one shape or matrices (B, C); mask.

    Config lines::

        student_connector=dict(type='ConvConnector'),
        loss=dict(type='MMDLoss', kernel='rbf', items=(16, 16), loss_weight=7.0)

    Args:
        items: ``'scene'``, ``(h, w)`` or a number of positions, see :mod:`mmdistill.losses.items`.
        kernel: ``'linear'``, ``'polynomial'`` or ``'rbf'``.
        degree: ``d`` of the polynomial.
        offset: ``c`` of the polynomial.
        bandwidth: :math:`\sigma` of ``'rbf'``; ``None`` for the default above; a list for the mean
            of the losses with each, so that near and far items both count.
        normalize: Scale items to unit length first.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        items: str | int | tuple[int, int] = (16, 16),
        kernel: str = 'rbf',
        degree: int = 2,
        offset: float = 0.0,
        bandwidth: float | Sequence[float] | None = None,
        normalize: bool = True,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(items, loss_weight)
        bandwidths = bandwidth if isinstance(bandwidth, Sequence) else [bandwidth]
        if not bandwidths:
            raise ValueError('bandwidth lists no length: give one or more, or None')
        self.kernels = [Kernel(kernel, degree, offset, each) for each in bandwidths]
        self.normalize = normalize

    def forward(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the loss between two features.

        Args:
            student: ``(B, C, H, W)`` or ``(B, C)``.
            teacher: The same shape.
            mask: Weights of the positions of maps, ``(B, 1, H, W)``, at least 0.

        Raises:
            ValueError: The shapes differ.
        """
        check_same_shape(student, teacher)
        return super().forward(student, teacher, mask=mask)

    def compare(self, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of :class:`~mmdistill.losses.items.Items`."""
        if self.normalize:
            student, teacher = unit(student), unit(teacher)
        total = weight.sum(1)
        weight = divide(weight, total[:, None])
        each = sum(kernel.discrepancy(student, teacher, weight, weight) for kernel in self.kernels)
        groups = (total > 0).sum()
        return each.sum() / (groups.clamp(min=1) * len(self.kernels))

"""Relational losses: the student keeps how the teacher's items lie to each other.

Each compares a table of relations between the items of one model with the other's, so channels
need not agree and no connector is needed. What an item is says :mod:`mmdistill.losses.items`.
"""

from __future__ import annotations

import math

import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.losses.items import ItemLoss, pair_weight, unit
from mmdistill.losses.reduce import divide, mean_of

# Items nearer to each other than this part of the mean distance have no direction: it would be
# rounding noise, with a gradient of one over the distance.
COINCIDENT = 1e-4


@MODELS.register_module()
class RKDLoss(ItemLoss):
    r"""Relational knowledge distillation: distances between items, and angles of three items.

    With :math:`d_{ij} = \|f_i - f_j\| / \mu`, :math:`\mu` the mean distance of all related pairs,
    :math:`e_{ij} = (f_i - f_j) / \|f_i - f_j\|` and the Huber loss :math:`h` with threshold 1:

    .. math::
        L = a\, \mathrm{mean}_{i \ne j}\, h(d^s_{ij} - d^t_{ij})
          + b\, \mathrm{mean}_{i \ne j \ne k}\, h(\langle e^s_{ij}, e^s_{kj} \rangle
                                               - \langle e^t_{ij}, e^t_{kj} \rangle)

    Means are weighted by the product of the items' weights. Angles cost ``M^2 (M + C)`` numbers for
    ``M`` items of ``C`` channels a map. Triples whose corner lies on top of an end (below 1e-4 of
    the mean distance), in the student's or the teacher's features, have no angle and are left out.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019.

    Takes: maps (B, C, H, W) of one size or matrices (B, C), any channels; mask.

    Config lines::

        loss=dict(type='RKDLoss', items=(8, 8), loss_weight=3.0)

    Args:
        items: ``'scene'``, ``(h, w)`` or a number of positions, see :mod:`mmdistill.losses.items`.
        distance_weight: ``a``; 0 leaves distances out.
        angle_weight: ``b``; 0 leaves angles out.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        items: str | int | tuple[int, int] = (8, 8),
        distance_weight: float = 1.0,
        angle_weight: float = 2.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(items, loss_weight)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def compare(self, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of :class:`~mmdistill.losses.items.Items`."""
        pairs = pair_weight(weight)
        student_distance, teacher_distance = _distances(student, pairs), _distances(teacher, pairs)
        loss = self.distance_weight * mean_of(_huber(student_distance, teacher_distance), pairs)
        if self.angle_weight:
            # Triples (i, j, k) by their corner j; i == k agrees in both and costs nothing.
            difference = _huber(
                _angles(student, student_distance), _angles(teacher, teacher_distance)
            )
            apart = torch.minimum(student_distance, teacher_distance) > COINCIDENT
            ends = weight[:, None] * apart  # (G, j, i)
            each = torch.einsum('gji,gjik,gjk->gj', ends, difference, ends)
            count = ends.sum(2).square() - ends.square().sum(2)
            angle_loss = divide((weight * each).sum(), (weight * count).sum())
            loss = loss + self.angle_weight * angle_loss
        return loss


@MODELS.register_module()
class SPLoss(ItemLoss):
    r"""Similarity-preserving distillation: rows of the table of inner products.

    With :math:`G_{ij} = \langle f_i, f_j \rangle` and rows of length one,
    :math:`\tilde G_i = G_i / \|G_i\|_2`:

    .. math:: L = \frac{1}{M^2} \sum_{ij} (\tilde G^s_{ij} - \tilde G^t_{ij})^2

    An item of weight 2 counts like two items, in the rows' lengths and in the mean.

    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019.

    Takes: maps (B, C, H, W) of one size or matrices (B, C), any channels; mask.

    Config lines::

        loss=dict(type='SPLoss', items=(8, 8), loss_weight=1000.0)

    Args:
        items: ``'scene'``, ``(h, w)`` or a number of positions, see :mod:`mmdistill.losses.items`.
        loss_weight: Factor of the loss; the paper's is 3000 for batches of 128 images.
    """

    def compare(self, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of :class:`~mmdistill.losses.items.Items`."""
        student, teacher = (
            unit(items @ items.transpose(1, 2), weight[:, None]) for items in (student, teacher)
        )
        return mean_of((student - teacher).square(), weight[:, :, None] * weight[:, None])


@MODELS.register_module()
class PKTLoss(ItemLoss):
    r"""Probabilistic knowledge transfer: whom an item would pick as its neighbour.

    With the cosine kernel :math:`K_{ij} = (1 + \cos(f_i, f_j)) / 2 + \epsilon` and
    :math:`p_{j|i} = K_{ij} / \sum_{k \ne i} K_{ik}`:

    .. math:: L = \mathrm{mean}_i \sum_{j \ne i} p^t_{j|i} \log(p^t_{j|i} / p^s_{j|i})

    An item of weight 2 counts like two items, as a neighbour and in the mean.

    Source: Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge
    Transfer", ECCV 2018.

    Takes: maps (B, C, H, W) of one size or matrices (B, C), any channels; mask.

    Config lines::

        loss=dict(type='PKTLoss', items=(8, 8), loss_weight=200.0)

    Args:
        items: ``'scene'``, ``(h, w)`` or a number of positions, see :mod:`mmdistill.losses.items`.
        eps: :math:`\epsilon`, keeps the logarithm of opposite items finite.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        items: str | int | tuple[int, int] = (8, 8),
        eps: float = 1e-6,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(items, loss_weight)
        self.eps = eps

    def compare(self, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of :class:`~mmdistill.losses.items.Items`."""
        pairs = pair_weight(weight)
        log_p, log_q = self._log_choice(teacher, weight), self._log_choice(student, weight)
        # `pairs` is weight_i * weight_j: the sum over j of the mean over i, but for its divisor.
        return divide((pairs * log_p.exp() * (log_p - log_q)).sum(), weight.sum())

    def _log_choice(self, items: Tensor, weight: Tensor) -> Tensor:
        """Logarithms of ``p_{j|i}``, ``(G, i, j)``."""
        items = unit(items)
        kernel = (1 + items @ items.transpose(1, 2)).clamp(min=0) / 2 + self.eps
        return divide(kernel, (kernel * _others(weight)).sum(2, keepdim=True)).log()


@MODELS.register_module()
class CCLoss(ItemLoss):
    r"""Correlation congruence: a table of kernel values between items.

    With features of unit length, :math:`L = \mathrm{mean}_{ij} (k(f^s_i, f^s_j) -
    k(f^t_i, f^t_j))^2`, weighted by the product of the items' weights. ``kernel='rbf'`` is
    :math:`e^{-\gamma \|x - y\|^2} = e^{-2\gamma} e^{2\gamma \langle x, y \rangle}`, its last factor
    as a Taylor polynomial where ``order`` is given, as in the paper;
    ``kernel='bilinear'`` is :math:`\langle x, y \rangle`.

    Source: Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019.

    Takes: maps (B, C, H, W) of one size or matrices (B, C), any channels; mask.

    Config lines::

        loss=dict(type='CCLoss', items=(8, 8), loss_weight=100.0)

    Args:
        items: ``'scene'``, ``(h, w)`` or a number of positions, see :mod:`mmdistill.losses.items`.
        kernel: ``'rbf'`` or ``'bilinear'``.
        gamma: :math:`\gamma` of the RBF kernel.
        order: Order of the Taylor polynomial; ``None`` for the exact kernel.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        items: str | int | tuple[int, int] = (8, 8),
        kernel: str = 'rbf',
        gamma: float = 0.4,
        order: int | None = 2,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(items, loss_weight)
        if kernel not in ('rbf', 'bilinear'):
            raise ValueError(f"kernel is 'rbf' or 'bilinear', not {kernel!r}")
        self.kernel, self.gamma, self.order = kernel, gamma, order

    def compare(self, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of :class:`~mmdistill.losses.items.Items`."""
        difference = self._correlation(student) - self._correlation(teacher)
        return mean_of(difference.square(), weight[:, :, None] * weight[:, None])

    def _correlation(self, items: Tensor) -> Tensor:
        items = unit(items)
        cosine = items @ items.transpose(1, 2)
        if self.kernel == 'bilinear':
            return cosine
        if self.order is None:
            return (2 * self.gamma * (cosine - 1)).exp()
        terms = ((2 * self.gamma * cosine) ** p / math.factorial(p) for p in range(self.order + 1))
        return math.exp(-2 * self.gamma) * sum(terms)


def _distances(items: Tensor, pairs: Tensor) -> Tensor:
    """Distances ``(G, M, M)`` over their mean; zeros where all items coincide."""
    # By matrix products small distances would drown in rounding.
    distance = torch.cdist(items, items, compute_mode='donot_use_mm_for_euclid_dist')
    return divide(distance, mean_of(distance, pairs))


def _angles(items: Tensor, distance: Tensor) -> Tensor:
    """Cosines ``(G, j, i, k)`` at corner ``j`` between items ``i`` and ``k``."""
    edges = items[:, None] - items[:, :, None]  # (G, j, i, C): from j to i
    edges = unit(edges) * (distance > COINCIDENT)[..., None]
    return edges @ edges.transpose(2, 3)


def _huber(student: Tensor, teacher: Tensor) -> Tensor:
    return F.smooth_l1_loss(student, teacher, reduction='none')


def _others(weight: Tensor) -> Tensor:
    """Weights of the items other than ``i``, ``(G, i, j)``."""
    others = weight[:, None].expand(-1, weight.shape[1], -1)
    return others * (1 - torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device))

"""Pointwise losses between features of one shape."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.losses.maps import MapLoss
from mmdistill.losses.normalize import cosine, squared_distance
from mmdistill.losses.reduce import mean, weighted_mean


@MODELS.register_module()
class FitNetLoss(MapLoss):
    r"""Mean squared difference of two features, usually behind a connector.

    :math:`L = \frac{1}{\sum_p m_p} \sum_p m_p \frac{1}{C} \sum_c (s_{pc} - t_{pc})^2` over the
    positions ``p`` of all samples; without a mask every :math:`m_p` is 1.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015.

    Takes: features (B, C, ...) of one shape; mask for maps.

    Config lines::

        student_connector=dict(type='ConvConnector'),
        loss=dict(type='FitNetLoss', loss_weight=1.0)

    Args:
        loss_weight: Factor of the loss.
    """

    reads_channels = False

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        if mask is None:
            squares = F.mse_loss(student, teacher, reduction='sum')
            return squares / max(student.numel(), 1)
        difference = F.mse_loss(student, teacher, reduction='none').mean(1)
        return weighted_mean(difference, mask)


@MODELS.register_module()
class FeatureL1Loss(MapLoss):
    r"""Mean absolute difference of two features, quadratic near zero on request.

    As :class:`FitNetLoss`, with :math:`|d|` in place of :math:`d^2`; with ``beta > 0`` differences
    below ``beta`` count :math:`d^2 / (2 \beta)` and others :math:`|d| - \beta / 2`. A few strong
    activations of a teacher weigh less in it than in a squared loss.

    Source: Girshick, "Fast R-CNN", ICCV 2015 (the smooth form).

    Takes: features (B, C, ...) of one shape; mask for maps.

    Config lines::

        student_connector=dict(type='ConvConnector'),
        loss=dict(type='FeatureL1Loss', beta=0.1, loss_weight=1.0)

    Args:
        beta: Difference at which the loss becomes linear; 0 for plain L1.
        loss_weight: Factor of the loss.
    """

    reads_channels = False

    def __init__(self, beta: float = 0.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        if beta < 0:
            raise ValueError(f'beta is a difference, 0 or more, not {beta}')
        self.beta = beta

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        if mask is None:
            total = F.smooth_l1_loss(student, teacher, reduction='sum', beta=self.beta)
            return total / max(student.numel(), 1)
        difference = F.smooth_l1_loss(student, teacher, reduction='none', beta=self.beta)
        return weighted_mean(difference.mean(1), mask)


@MODELS.register_module()
class NormalizedMSELoss(MapLoss):
    r"""Squared distance of features scaled to unit length: their scale does not matter.

    ``over='position'`` scales the channel vector of each position and averages
    :math:`\|\hat s_p - \hat t_p\|^2` over positions, weighted by the mask. ``over='sample'`` scales
    the whole feature of a sample and averages :math:`\sum_p m_p \|\hat s_p - \hat t_p\|^2` over
    samples, where the lengths too are those of :math:`\sum_p m_p \|s_p\|^2`: what the mask leaves
    out does not exist. Strong positions then stay strong. Both lie between 0 and 4. A zero vector
    has no direction: it stays zero and passes no gradient.

    Source: Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020 (its loss between vectors).

    Takes: features (B, C, ...) of one shape; mask for maps.

    Config lines::

        student_connector=dict(type='ConvConnector'),
        loss=dict(type='NormalizedMSELoss', over='position', loss_weight=1.0)

    Args:
        over: ``'position'`` or ``'sample'``: what has unit length.
        loss_weight: Factor of the loss.
    """

    def __init__(self, over: str = 'position', loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        _check_over(over)
        self.over = over

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        if self.over == 'sample':
            dim = tuple(range(1, student.dim()))
            loss = mean(squared_distance(student, teacher, dim, mask))
        else:
            loss = weighted_mean(squared_distance(student, teacher, 1).squeeze(1), mask)
        return loss


@MODELS.register_module()
class CosineLoss(MapLoss):
    r"""One minus the cosine between two features.

    ``over='position'``: :math:`1 - \cos(s_p, t_p)` of the channel vectors, averaged over positions,
    weighted by the mask. ``over='sample'``: one cosine of the whole feature of a sample, with the
    mask as weights of its inner products, averaged over samples; a sample whose mask is empty
    counts 0. A zero vector has no direction: it counts 1 and passes no gradient. Where none is
    zero, this is half of :class:`NormalizedMSELoss`.

    Source: Deng and Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding",
    CVPR 2022 (over positions).

    Takes: features (B, C, ...) of one shape; mask for maps.

    Config lines::

        student_connector=dict(type='ConvConnector'),
        loss=dict(type='CosineLoss', loss_weight=1.0)

    Args:
        over: ``'position'`` or ``'sample'``: what is one vector.
        loss_weight: Factor of the loss.
    """

    def __init__(self, over: str = 'position', loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        _check_over(over)
        self.over = over

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        if self.over == 'sample':
            dim = tuple(range(1, student.dim()))
            distance = 1 - cosine(student, teacher, dim, mask)  # (B, 1, ...)
            loss = mean(distance if mask is None else distance * mask.amax(dim, True).bool())
        else:
            loss = weighted_mean(1 - cosine(student, teacher, 1).squeeze(1), mask)
        return loss


def _check_over(over: str) -> None:
    if over not in ('position', 'sample'):
        raise ValueError(f"over is 'position' or 'sample', not {over!r}")

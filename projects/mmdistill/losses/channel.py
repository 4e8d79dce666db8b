"""Losses between single channels: each channel of a map as a pattern over positions."""

from __future__ import annotations

import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.connectors.checks import check_same_maps
from mmdistill.losses.maps import MapLoss
from mmdistill.losses.normalize import cosine


@MODELS.register_module()
class PKDLoss(MapLoss):
    r"""One minus the Pearson correlation of the student's and the teacher's channels.

    With :math:`r_c` the correlation of channel ``c`` over the positions of all samples of the
    batch, :math:`L = \frac1C \sum_c (1 - r_c)`, which is half the mean squared difference of
    channels scaled to zero mean and unit variance. Neither the scale nor the offset of a channel
    matters, so it joins detectors of different families, and no channel dominates. A constant
    channel correlates with nothing: it counts 1 and passes no gradient. The mask weighs the
    positions in means, variances and covariances; where it is empty, the loss is 0.

    Source: Cao et al., "PKD: General Distillation Framework for Object Detectors via Pearson
    Correlation Coefficient", NeurIPS 2022.

    Takes: maps (B, C, H, W) of one shape; mask.

    Config lines::

        student_connector=dict(type='ConvConnector'),
        loss=dict(type='PKDLoss', loss_weight=2.0)

    Args:
        loss_weight: Factor of the loss.
    """

    check_features = staticmethod(check_same_maps)

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        if mask is not None:
            # Weights of mean 1, so that lengths stay those of a whole map.
            mask = mask / mask.mean().clamp_min(torch.finfo(mask.dtype).tiny)
        student, student_floor = _centred(student, mask)
        teacher, teacher_floor = _centred(teacher, mask)
        correlation = cosine(student, teacher, (0, 2, 3), mask, (student_floor, teacher_floor))
        loss = (1 - correlation).mean()
        return loss if mask is None else loss * mask.any()


@MODELS.register_module()
class CWDLoss(MapLoss):
    r"""Kullback-Leibler divergence between channels read as distributions over positions.

    :math:`\phi(f_c)_p = m_p e^{f_{cp} / T} / \sum_q m_q e^{f_{cq} / T}` says where channel ``c``
    fires, and :math:`L = T^2 \frac{1}{BC} \sum_{b, c} \sum_p \phi(t_c)_p \log
    \frac{\phi(t_c)_p}{\phi(s_c)_p}`: where the teacher is silent, the student is left alone. The
    mask :math:`m_p` weighs the positions; those of weight 0 do not exist, and a sample whose mask
    is empty counts 0. Without a mask every :math:`m_p` is 1.

    Source: Shu et al., "Channel-Wise Knowledge Distillation for Dense Prediction", ICCV 2021.

    Takes: maps (B, C, H, W) of one shape; mask.

    Config lines::

        student_connector=dict(type='ConvConnector'),
        loss=dict(type='CWDLoss', temperature=1.0, loss_weight=1.0)

    Args:
        temperature: ``T``; larger values spread the distributions.
        loss_weight: Factor of the loss.
    """

    check_features = staticmethod(check_same_maps)

    def __init__(self, temperature: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}')
        self.temperature = temperature

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        student, teacher = (self._log_distribution(f, mask) for f in (student, teacher))
        divergence = F.kl_div(student, teacher, reduction='sum', log_target=True)
        num_channels = student.shape[0] * student.shape[1]
        return self.temperature**2 * divergence / num_channels

    def _log_distribution(self, feature: Tensor, mask: Tensor | None) -> Tensor:
        logits = feature.flatten(2) / self.temperature
        if mask is not None:
            # Not the logarithm of 0: in both distributions it would give inf - inf.
            least = torch.finfo(feature.dtype).min / 4
            logits = logits + mask.flatten(2).log().clamp_min(least)
        return F.log_softmax(logits, dim=2)


def _centred(feature: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Subtract each channel's mean; also return the length below which it counts as constant.

    Rounding leaves a constant channel of large values with some length, so the bound follows the
    mean.
    """
    weighted = feature if weight is None else feature * weight
    mean = weighted.mean((0, 2, 3), keepdim=True)
    num_positions = feature.numel() // feature.shape[1]
    floor = 1e-6 * num_positions**0.5 * (1 + mean.detach().abs())
    return feature - mean, floor

"""Losses with a small network of their own that predicts the teacher's feature."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.connectors.checks import check_channels, check_maps
from mmdistill.losses.maps import MapLoss
from mmdistill.losses.normalize import inverse_length, squared_distance
from mmdistill.losses.reduce import as_float, weighted_mean
from mmdistill.reading.shapes import Layer
from mmdistill.widths import HasWidths


class GenerativeLoss(HasWidths, MapLoss):
    """Base of the losses whose network maps the student's channels to the teacher's.

    Args:
        student_channels: Channels of the student's map; read from the layer.
        teacher_channels: Channels of the teacher's map; read from the layer.
        loss_weight: Factor of the loss.
    """

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Read the channels of both layers, and check that both are maps of one size."""
        self.bind_widths(student_channels=student, teacher_channels=teacher)
        super().bind(student, teacher)

    def check_features(self, student: Any, teacher: Any) -> None:
        """Demand two maps of one size, of the channels that the network has."""
        self.demand_widths()
        check_channels(student, self.widths['student_channels'], 'student_channels')
        check_channels(teacher, self.widths['teacher_channels'], 'teacher_channels')
        check_maps(student, teacher)


@MODELS.register_module()
class MGDLoss(GenerativeLoss):
    r"""The teacher's map, generated from a student's map of which random positions are hidden.

    :math:`L = \mathrm{mean}\,(G(h \odot A(s)) - t)^2`, where ``A`` is a 1x1 convolution (none when
    the channels agree), ``h`` is 0 at each position with probability ``mask_ratio``, drawn anew for
    every sample and step, and ``G`` is two 3x3 convolutions with a ReLU between. A cell must
    therefore know its surroundings. ``A`` and ``G`` are trained with the student. The mean is over
    channels, and over positions as weighted by the mask, hidden or not.

    The draws come from torch's generator of the feature's device, whose state
    :class:`~mmdistill.hooks.RandomStateHook` keeps in checkpoints. The authors sum over channels
    and positions, with a weight of 2e-5 for one-stage detectors: ``loss_weight=2e-5 * C * H * W``
    is theirs.

    Source: Yang et al., "Masked Generative Distillation", ECCV 2022.

    Takes: maps (B, Cs, H, W) and (B, Ct, H, W); mask.

    Config lines::

        loss=dict(type='MGDLoss', loss_weight=1.0)

    Args:
        student_channels: Channels of the student's map; read from the layer.
        teacher_channels: Channels of the teacher's map; read from the layer.
        mask_ratio: Share of the positions that are hidden.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        mask_ratio: float = 0.65,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if not 0 <= mask_ratio < 1:
            raise ValueError(f'mask_ratio is a share of the positions in [0, 1), not {mask_ratio}')
        self.mask_ratio = mask_ratio
        self.take_widths(student_channels=student_channels, teacher_channels=teacher_channels)

    def make(self, student_channels: int, teacher_channels: int) -> None:
        """Make the alignment and the generation."""
        self.align = (
            nn.Identity()
            if student_channels == teacher_channels
            else nn.Conv2d(student_channels, teacher_channels, 1)
        )
        self.generation = nn.Sequential(
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
        )

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        batch, _, height, width = student.shape
        draws = torch.rand(batch, 1, height, width, device=student.device)
        generated = self.generation(self.align(student) * (draws >= self.mask_ratio))
        error = (as_float(generated) - teacher).square().mean(1)
        return weighted_mean(error, mask)


@MODELS.register_module()
class FactorTransferLoss(GenerativeLoss):
    r"""Distance between compressed features, the teacher's and the student's *factors*.

    A paraphraser ``P`` compresses the teacher's map to ``rate * teacher_channels`` channels, a
    translator ``R`` maps the student's to as many. With factors scaled to unit length for each
    sample, :math:`d = R(s) / \|R(s)\| - P(t) / \|P(t)\|`, of ``n`` elements, the factor term is
    :math:`\|d\|_1 / \sqrt n` (``p=1``) or :math:`\|d\|_2^2` (``p=2``), averaged over samples.

    The authors train ``P`` beforehand as an autoencoder, with a decoder ``D``. Here it is trained
    along with the student, by its reconstruction alone, and the factor term passes no gradient
    into it: :math:`L = L_{factor} + w \|D(P(t)) - t\|^2 / \|t\|^2`, the share of the teacher's
    energy that is lost. A paraphraser trained before can be given by
    ``init_cfg=dict(type='Pretrained', checkpoint=...)``, ``reconstruction_weight=0`` freezes it.
    The mask weighs the positions in lengths and distances of both terms: those of weight 0 do not
    exist. The authors average ``|d|``: their weight ``b`` is ``loss_weight=b / sqrt(n)``.

    Source: Kim et al., "Paraphrasing Complex Network: Network Compression via Factor Transfer",
    NeurIPS 2018.

    Takes: maps (B, Cs, H, W) and (B, Ct, H, W); mask.

    Config lines::

        loss=dict(type='FactorTransferLoss', rate=0.5)

    Args:
        student_channels: Channels of the student's map; read from the layer.
        teacher_channels: Channels of the teacher's map; read from the layer.
        rate: Channels of the factors as a share of ``teacher_channels``.
        p: Norm of the distance, 1 or 2.
        reconstruction_weight: ``w``, the weight of the paraphraser's own loss.
        kernel_size: Odd kernel size of all convolutions.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        rate: float = 0.5,
        p: int = 1,
        reconstruction_weight: float = 1.0,
        kernel_size: int = 3,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if p not in (1, 2):
            raise ValueError(f'p is the norm of the distance, 1 or 2, not {p}')
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd to keep the size of the map: {kernel_size}')
        self.rate, self.p, self.kernel_size = rate, p, kernel_size
        self.reconstruction_weight = reconstruction_weight
        self.take_widths(student_channels=student_channels, teacher_channels=teacher_channels)

    def make(self, student_channels: int, teacher_channels: int) -> None:
        """Make translator, paraphraser and decoder."""
        factors, kernel_size = round(self.rate * teacher_channels), self.kernel_size
        if factors < 1:
            raise ValueError(f'rate={self.rate} leaves no channel of {teacher_channels}')
        self.translator = _convolutions([student_channels, factors, factors, factors], kernel_size)
        self.paraphraser = _convolutions(
            [teacher_channels, teacher_channels, factors, factors], kernel_size
        )
        self.decoder = None
        if self.reconstruction_weight:
            self.decoder = _convolutions([factors, factors, teacher_channels], kernel_size)
            self.decoder.append(nn.Conv2d(teacher_channels, teacher_channels, 1))
        else:
            self.paraphraser.requires_grad_(False)

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        weight = torch.ones_like(student[:, :1]) if mask is None else mask
        factor = self.paraphraser(teacher)
        loss = self._distance(as_float(self.translator(student)), as_float(factor.detach()), weight)
        if self.decoder is not None:
            restored = as_float(self.decoder(factor))
            loss = loss + self.reconstruction_weight * _relative_error(restored, teacher, weight)
        return loss

    def _distance(self, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
        if self.p == 2:
            return squared_distance(student, teacher, (1, 2, 3), weight).mean()
        student = student * inverse_length(student, (1, 2, 3), weight)
        teacher = teacher * inverse_length(teacher, (1, 2, 3), weight)
        difference = student - teacher
        # The number of elements that count: with lengths of 1 it keeps the loss of order 1.
        count = weight.sum((1, 2, 3)) * difference.shape[1]
        scale = count.clamp_min(torch.finfo(count.dtype).tiny).rsqrt()
        return ((difference.abs() * weight).sum((1, 2, 3)) * scale).mean()


@MODELS.register_module()
class VIDLoss(GenerativeLoss):
    r"""Negative log likelihood of the teacher's map under a Gaussian predicted by the student's.

    :math:`L = \mathrm{mean}\,\frac12 \left[ (t_c - \mu_c(s))^2 / \sigma_c^2 + \log \sigma_c^2
    \right]`; to lower it raises a lower bound of the mutual information of both layers. The mean
    :math:`\mu` is three 1x1 convolutions, and the variance one trainable number a channel: channels
    that a student cannot predict lose their weight. The loss is negative once the student predicts
    well. The mean is over channels, and over positions as weighted by the mask.

    Source: Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019.

    Takes: maps (B, Cs, H, W) and (B, Ct, H, W); mask.

    Config lines::

        loss=dict(type='VIDLoss', loss_weight=0.5)

    Args:
        student_channels: Channels of the student's map; read from the layer.
        teacher_channels: Channels of the teacher's map; read from the layer.
        hidden_channels: Channels between the convolutions; default ``teacher_channels``.
        init_variance: Variance of every channel at the start.
        min_variance: The least variance.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        hidden_channels: int | None = None,
        init_variance: float = 5.0,
        min_variance: float = 1e-5,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_weight, init_cfg)
        if not 0 < min_variance < init_variance:
            raise ValueError(
                'variances must obey 0 < min_variance < init_variance, got '
                f'{min_variance} and {init_variance}'
            )
        self.hidden_channels = hidden_channels
        self.init_variance, self.min_variance = init_variance, min_variance
        self.take_widths(student_channels=student_channels, teacher_channels=teacher_channels)

    def make(self, student_channels: int, teacher_channels: int) -> None:
        """Make mean and variance."""
        hidden = self.hidden_channels or teacher_channels
        self.mean = nn.Sequential(
            nn.Conv2d(student_channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, teacher_channels, 1),
        )
        # Variance through a softplus, here its inverse.
        excess = self.init_variance - self.min_variance
        raw = excess + math.log(-math.expm1(-excess))
        self.raw_variance = nn.Parameter(torch.full((teacher_channels,), raw))

    @property
    def variance(self) -> Tensor:
        """Variance of each of the teacher's channels, ``(Ct,)``."""
        return F.softplus(self.raw_variance) + self.min_variance

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        error = (as_float(self.mean(student)) - teacher).square()
        variance = self.variance
        likelihood = (error / variance[:, None, None]).mean(1) + variance.log().mean()
        return weighted_mean(likelihood / 2, mask)


def _convolutions(channels: list[int], kernel_size: int) -> nn.Sequential:
    """Convolutions of the given channels, each followed by a leaky ReLU."""
    layers = []
    for before, after in itertools.pairwise(channels):
        layers.append(nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2))
        layers.append(nn.LeakyReLU(0.1, inplace=True))
    return nn.Sequential(*layers)


def _relative_error(restored: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Return the share of the teacher's energy that is not restored; 0 where there is none."""
    energy = (teacher.square() * weight).sum()
    error = ((restored - teacher).square() * weight).sum()
    has_energy = energy > 1e-12 * teacher.numel()
    return error / torch.where(has_energy, energy, 1) * has_energy

"""Losses between activation patterns: where a layer looks, whatever its channels are."""

from __future__ import annotations

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.connectors.checks import check_maps
from mmdistill.losses.kernels import Kernel
from mmdistill.losses.maps import MapLoss
from mmdistill.losses.normalize import inverse_length


@MODELS.register_module()
class AttentionTransferLoss(MapLoss):
    r"""Distance between normalised maps of activation strength.

    With :math:`q = \mathrm{vec}(\sum_c |f_c|^p)` and :math:`\hat q = q / \|q\|_2` of each sample:
    ``mode='mean'`` is the authors' code, :math:`\mathrm{mean}\,(\hat q_s - \hat q_t)^2` over
    samples and positions; ``mode='norm'`` is the paper,
    :math:`\mathrm{mean}_b \|\hat q_s - \hat q_t\|_2`.

    A mean over ``H * W`` positions of maps of unit length is of the order ``1 / (H * W)``:
    ``mode='sum'`` sums over positions instead, and so does not fade on large BEV maps.

    The mask weighs the positions in every sum of squares, those of the lengths too: positions of
    weight 0 do not exist, and a sample whose mask is empty counts 0. A factor of the mask cancels.
    ``mode='mean'`` divides by ``H * W`` all the same.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017.

    Takes: maps (B, Cs, H, W) and (B, Ct, H, W); mask.

    Config lines::

        loss=dict(type='AttentionTransferLoss', mode='sum', loss_weight=0.5)

    Args:
        p: Power of the activations, 1 or more.
        mode: ``'sum'``, ``'mean'`` or ``'norm'``.
        loss_weight: Factor of the loss.
    """

    check_features = staticmethod(check_maps)

    def __init__(self, p: float = 2, mode: str = 'sum', loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        if mode not in ('sum', 'mean', 'norm'):
            raise ValueError(f"mode is 'sum', 'mean' or 'norm', not {mode!r}")
        if p < 1:
            raise ValueError(f'p is 1 or more, not {p}: below 1 a silent cell has no gradient')
        self.p, self.mode = p, mode

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        difference = self._attention(student, mask) - self._attention(teacher, mask)
        squares = difference.square().sum(1)
        if self.mode == 'norm':
            # Not `.norm()`: its gradient at zero is not a number.
            return (squares + 1e-12).sqrt().mean()
        loss = squares.mean()
        return loss if self.mode == 'sum' else loss / difference.shape[1]

    def _attention(self, feature: Tensor, mask: Tensor | None) -> Tensor:
        """Return the map of strength, scaled to unit length, ``(B, H * W)``."""
        strength = feature.square() if self.p == 2 else feature.abs().pow(self.p)
        strength = strength.sum(1).flatten(1)
        if mask is not None:
            strength = strength * mask.flatten(1).sqrt()
        return strength * inverse_length(strength, 1, floor=1e-12)


@MODELS.register_module()
class NSTLoss(MapLoss):
    r"""Maximum mean discrepancy between the channels of both maps, read as patterns.

    Each channel, scaled to unit length over its positions, is one point :math:`x_i` of the student
    or :math:`y_j` of the teacher. With a kernel ``k`` and means over all pairs,
    :math:`L = \overline{k(x_i, x_j)} + \overline{k(y_i, y_j)} - 2 \overline{k(x_i, y_j)}`,
    averaged over samples. The channels of both models need not correspond, nor agree in number.

    ``kernel='polynomial'``: :math:`(\langle x, y \rangle + c)^d`, of which the authors recommend
    ``d = 2`` and ``c = 0``; ``'linear'``: :math:`\langle x, y \rangle`, where ``L`` is the squared
    distance of mean patterns, close to attention transfer; ``'rbf'``:
    :math:`\exp(-\|x - y\|^2 / (2 \sigma^2))`, where :math:`\sigma^2` is the mean squared distance
    between the student's and the teacher's channels of the sample, without a gradient.

    Kernels are computed from matrices of ``(C, C)`` inner products, never ``(H * W, H * W)``. The
    mask weighs the positions in all inner products, those of the lengths too.

    Source: Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity
    Transfer", 2017.

    Takes: maps (B, Cs, H, W) and (B, Ct, H, W); mask.

    Config lines::

        loss=dict(type='NSTLoss', kernel='polynomial', loss_weight=10.0)

    Args:
        kernel: ``'polynomial'``, ``'linear'`` or ``'rbf'``.
        degree: ``d`` of the polynomial.
        offset: ``c`` of the polynomial.
        loss_weight: Factor of the loss.
    """

    check_features = staticmethod(check_maps)

    def __init__(
        self,
        kernel: str = 'polynomial',
        degree: int = 2,
        offset: float = 0.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        self.kernel = Kernel(kernel, degree, offset)

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision."""
        # Not under autocast: the three means nearly cancel.
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = _patterns(student, mask), _patterns(teacher, mask)
            evenly = [f.new_full(f.shape[:2], 1 / f.shape[1]) for f in (student, teacher)]
            return self.kernel.discrepancy(student, teacher, *evenly).mean()


def _patterns(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Channels as vectors of unit length over the positions, ``(B, C, H * W)``."""
    if mask is not None:
        feature = feature * mask.sqrt()
    patterns = feature.flatten(2)
    return patterns * inverse_length(patterns, 2)

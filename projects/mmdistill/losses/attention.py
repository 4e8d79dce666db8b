"""Losses between attention maps: where a layer looks, whatever its channels are."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.address import describe


@MODELS.register_module()
class AttentionTransferLoss(nn.Module):
    r"""Distance between normalised maps of activation strength.

    With :math:`q = \mathrm{vec}(\sum_c |f_c|^p)` and :math:`\hat q = q / \|q\|_2` of each sample:
    ``mode='mean'`` is the authors' code, :math:`\mathrm{mean}\,(\hat q_s - \hat q_t)^2` over
    samples and positions; ``mode='norm'`` is the paper,
    :math:`\mathrm{mean}_b \|\hat q_s - \hat q_t\|_2`.

    A mean over ``H * W`` positions of maps of unit length is of the order ``1 / (H * W)``:
    ``mode='sum'`` sums over positions instead, and so does not fade on large BEV maps.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017.

    Config lines::

        loss=dict(type='AttentionTransferLoss', mode='sum', loss_weight=0.5)

    Args:
        p: Power of the activations.
        mode: ``'sum'``, ``'mean'`` or ``'norm'``.
        loss_weight: Factor of the loss.
    """

    def __init__(self, p: float = 2, mode: str = 'sum', loss_weight: float = 1.0) -> None:
        super().__init__()
        if mode not in ('sum', 'mean', 'norm'):
            raise ValueError(f"mode is 'sum', 'mean' or 'norm', not {mode!r}")
        self.p, self.mode, self.loss_weight = p, mode, loss_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss between maps ``(B, Cs, H, W)`` and ``(B, Ct, H, W)``.

        Raises:
            ValueError: The maps differ in batch or size.
        """
        for feature in (student, teacher):
            if not isinstance(feature, Tensor) or feature.dim() != 4:
                raise ValueError(f'expected maps (B, C, H, W), got {describe(feature)}')
        if (student.shape[0], student.shape[2:]) != (teacher.shape[0], teacher.shape[2:]):
            raise ValueError(
                f'attention maps need the same batch, height and width: the student is '
                f'{tuple(student.shape)}, the teacher {tuple(teacher.shape)}; link layers of the '
                'same stride, or bring the teacher to the student with '
                f"teacher_connector=dict(type='ResizeConnector', size={tuple(student.shape[2:])})"
            )
        difference = self._attention(student) - self._attention(teacher.detach())
        if self.mode == 'norm':
            # Not `.norm()`: its gradient at zero is not a number.
            loss = (difference.square().sum(1) + 1e-12).sqrt().mean()
        elif self.mode == 'sum':
            loss = difference.square().sum(1).mean()
        else:
            loss = difference.square().mean()
        return self.loss_weight * loss

    def _attention(self, feature: Tensor) -> Tensor:
        feature = feature.float() if feature.dtype.itemsize < 4 else feature
        strength = feature.square() if self.p == 2 else feature.abs().pow(self.p)
        return F.normalize(strength.sum(1).flatten(1), dim=1)

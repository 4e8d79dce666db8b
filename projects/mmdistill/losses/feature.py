"""Pointwise losses between feature maps."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.connectors.checks import check_same_shape


@MODELS.register_module()
class FitNetLoss(nn.Module):
    """Mean squared difference of two features, usually behind a connector.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015.

    Config lines::

        student_connector=dict(type='ConvConnector', in_channels=128, out_channels=256),
        loss=dict(type='FitNetLoss', loss_weight=1.0)

    Args:
        loss_weight: Factor of the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss between two features of one shape.

        Raises:
            ValueError: The shapes differ.
        """
        check_same_shape(student, teacher)
        return self.loss_weight * F.mse_loss(student, teacher.detach())

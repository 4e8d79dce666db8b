"""Connector of sparse tensors: channels of one model to channels of another."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

from mmdistill.address import describe


@MODELS.register_module()
class SparseLinearConnector(BaseModule):
    """A linear layer on the voxels of a sparse tensor, which stay where they are.

    Config lines::

        student_connector=dict(type='SparseLinearConnector', in_channels=16, out_channels=32)

    Args:
        in_channels: Channels of the feature's voxels.
        out_channels: Channels of the result's voxels.
        bias: Add a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Kaiming', layer='Linear', mode='fan_in'))
        self.in_channels = in_channels
        self.linear = nn.Linear(in_channels, out_channels, bias)

    def forward(self, feature: Any) -> Any:
        """Map a sparse tensor of spconv with ``(M, in_channels)`` features to another.

        Raises:
            ValueError: The feature is not sparse, or has other channels.
        """
        if not hasattr(feature, 'replace_feature'):
            raise ValueError(
                f'expected a sparse tensor, got {describe(feature)}; maps take a ConvConnector'
            )
        if feature.features.shape[1] != self.in_channels:
            raise ValueError(
                f'expected voxels of {self.in_channels} channels as in_channels says, got '
                f'{feature.features.shape[1]}; correct in_channels, or choose another layer'
            )
        return feature.replace_feature(self.linear(feature.features))

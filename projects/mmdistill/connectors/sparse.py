"""Connector of sparse tensors: channels of one model to channels of another."""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from torch import nn

from mmdistill.contracts import Connector
from mmdistill.reading.address import describe
from mmdistill.reading.shapes import Layer
from mmdistill.reading.sparse import is_sparse, replace_features
from mmdistill.widths import HasWidths


@MODELS.register_module()
class SparseLinearConnector(HasWidths, Connector):
    """A linear layer on the voxels of a sparse tensor, which stay where they are.

    Config lines::

        student_connector=dict(type='SparseLinearConnector')

    Args:
        in_channels: Channels of the feature's voxels; read from the layer.
        out_channels: Channels of the result's voxels; by default those of the layer at the link's
            other end.
        bias: Add a bias.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int | None = None,
        bias: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Kaiming', layer='Linear', mode='fan_in'))
        self.has_bias = bias
        self.take_widths(in_channels=in_channels, out_channels=out_channels)

    def make(self, in_channels: int, out_channels: int) -> None:
        """Make the layer."""
        self.linear = nn.Linear(in_channels, out_channels, self.has_bias)

    def bind(self, layer: Layer, other: Layer) -> None:
        """Read the channels of the layer, and of the one at the other end."""
        self.bind_widths(in_channels=layer)
        if self.widths['out_channels'] is None:
            self.bind_widths(out_channels=other)

    def forward(self, feature: Any) -> Any:
        """Map a sparse tensor of spconv with ``(M, in_channels)`` features to another.

        Raises:
            ValueError: The feature is not sparse, or has other channels.
        """
        if not is_sparse(feature):
            raise ValueError(
                f'expected a sparse tensor, got {describe(feature)}; maps take a ConvConnector'
            )
        self.demand_widths()
        if feature.features.shape[1] != self.widths['in_channels']:
            raise ValueError(
                f'expected voxels of {self.widths["in_channels"]} channels as in_channels says, '
                f'got {feature.features.shape[1]}; correct in_channels, or choose another layer'
            )
        return replace_features(feature, self.linear(feature.features))

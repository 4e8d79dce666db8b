"""Linear connector: the vectors of one model in the width of another."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill.connectors.checks import check_channels
from mmdistill.contracts import Connector
from mmdistill.reading.shapes import Layer
from mmdistill.widths import HasWidths


@MODELS.register_module()
class LinearConnector(HasWidths, Connector):
    """A linear layer from vectors ``(B, in_channels)`` to ``(B, out_channels)``.

    Config lines::

        student_connector=dict(type='LinearConnector')

    Args:
        in_channels: Channels of the feature; read from the layer.
        out_channels: Channels of the result; by default those of the layer at the link's other end.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.take_widths(in_channels=in_channels, out_channels=out_channels)

    def make(self, in_channels: int, out_channels: int) -> None:
        """Make the layer."""
        self.linear = nn.Linear(in_channels, out_channels)

    def bind(self, layer: Layer, other: Layer) -> None:
        """Read the channels of the layer, and of the one at the other end."""
        self.bind_widths(in_channels=layer)
        if self.widths['out_channels'] is None:
            self.bind_widths(out_channels=other)

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``(B, in_channels)`` to ``(B, out_channels)``.

        Raises:
            ValueError: The feature is something else.
        """
        self.demand_widths()
        check_channels(feature, self.widths['in_channels'], 'in_channels')
        if feature.dim() != 2:
            raise ValueError(
                f'expected vectors (B, C), got {tuple(feature.shape)}: for maps take '
                "dict(type='ConvConnector')"
            )
        return self.linear(feature)

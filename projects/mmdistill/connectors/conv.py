"""Convolutional connector: channels of one model to channels of another."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill.connectors.checks import check_channels
from mmdistill.contracts import Connector
from mmdistill.reading.shapes import Layer
from mmdistill.widths import HasWidths


@MODELS.register_module()
class ConvConnector(HasWidths, Connector):
    """A convolution, and on request batch norm and an activation, to other channels.

    Source: the regressor of FitNets (Romero et al., ICLR 2015).

    Config lines::

        student_connector=dict(type='ConvConnector')
        student_connector=dict(type='ConvConnector', out_channels=512, norm=True, act='ReLU')

    Args:
        in_channels: Channels of the feature, ``(B, in_channels, H, W)``; read from the layer.
        out_channels: Channels of the result, ``(B, out_channels, H, W)``; by default those of the
            layer at the link's other end.
        kernel_size: Odd size of the kernel; the map keeps its size.
        norm: Follow the convolution by batch norm.
        act: Name of an activation of ``torch.nn`` that comes last, such as ``'ReLU'`` where the
            teacher's feature lies behind one.

    Raises:
        ValueError: ``kernel_size`` is even, or ``torch.nn`` has no such activation.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int | None = None,
        kernel_size: int = 1,
        norm: bool = False,
        act: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Kaiming', layer='Conv2d'))
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd to keep the size of the map: {kernel_size}')
        self.kernel_size, self.has_norm = kernel_size, norm
        self.act = _build_activation(act)
        self.take_widths(in_channels=in_channels, out_channels=out_channels)

    def make(self, in_channels: int, out_channels: int) -> None:
        """Make the convolution."""
        size = self.kernel_size
        self.conv = nn.Conv2d(
            in_channels, out_channels, size, padding=size // 2, bias=not self.has_norm
        )
        self.norm = nn.BatchNorm2d(out_channels) if self.has_norm else nn.Identity()

    def bind(self, layer: Layer, other: Layer) -> None:
        """Read the channels of the layer, and of the one at the other end."""
        self.bind_widths(in_channels=layer)
        if self.widths['out_channels'] is None:
            self.bind_widths(out_channels=other)

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``."""
        self.demand_widths()
        check_channels(feature, self.widths['in_channels'], 'in_channels')
        return self.act(self.norm(self.conv(feature)))


def _build_activation(name: str | None) -> nn.Module:
    if name is None:
        return nn.Identity()
    activation = getattr(nn.modules.activation, name, None)
    if not (isinstance(activation, type) and issubclass(activation, nn.Module)):
        raise ValueError(f"act names an activation of torch.nn, such as 'ReLU', not {name!r}")
    return activation()

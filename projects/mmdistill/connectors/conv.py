"""Convolutional connector: channels of one model to channels of another."""

from __future__ import annotations

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill.connectors.checks import check_channels


@MODELS.register_module()
class ConvConnector(BaseModule):
    """A convolution that maps a BEV map to another number of channels.

    Source: the regressor of FitNets (Romero et al., ICLR 2015).

    Config lines::

        student_connector=dict(type='ConvConnector', in_channels=256, out_channels=512)

    Args:
        in_channels: Channels of the feature, ``(B, in_channels, H, W)``.
        out_channels: Channels of the result, ``(B, out_channels, H, W)``.
        kernel_size: Odd size of the kernel; the map keeps its size.
        norm: Follow the convolution by batch norm and ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        norm: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Kaiming', layer='Conv2d'))
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd to keep the size of the map: {kernel_size}')
        self.in_channels = in_channels
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=not norm
        )
        self.norm = nn.Sequential(nn.BatchNorm2d(out_channels), nn.ReLU()) if norm else None

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``."""
        check_channels(feature, self.in_channels, 'in_channels')
        feature = self.conv(feature)
        return feature if self.norm is None else self.norm(feature)

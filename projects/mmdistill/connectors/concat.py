"""Connector that makes one map of several scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.connectors.checks import check_channels, check_map
from mmdistill.contracts import Connector
from mmdistill.reading.address import describe
from mmdistill.reading.shapes import Layer
from mmdistill.widths import HasWidths


@MODELS.register_module()
class ConcatConnector(HasWidths, Connector):
    """Resizes the maps of a tuple to one size and concatenates their channels.

    For layers that return several scales, such as a backbone: one link teaches all of them.

    Config lines::

        student='pts_backbone', teacher='pts_backbone',          # no selector: the whole tuple
        student_connector=dict(type='ConcatConnector')

    Args:
        in_channels: Channels of each map, in the order of the tuple; read from the layer.
        size: Height and width of the result, in cells; default those of the first map.
        mode: Interpolation, ``'bilinear'`` or ``'nearest'``.
    """

    def __init__(
        self,
        in_channels: Sequence[int] | None = None,
        size: tuple[int, int] | None = None,
        mode: str = 'bilinear',
    ) -> None:
        super().__init__()
        if mode not in ('bilinear', 'nearest'):
            raise ValueError(f"mode is 'bilinear' or 'nearest', not {mode!r}")
        self.size = None if size is None else tuple(size)
        self.mode = mode
        self.take_widths(in_channels=None if in_channels is None else list(in_channels))

    def make(self, in_channels: list[int]) -> None:
        """There are no parts to make."""

    def bind(self, layer: Layer, other: Layer) -> None:
        """Read the channels of the layer's maps."""
        self.bind_widths(in_channels=layer)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map several ``(B, C_i, H_i, W_i)`` to one ``(B, sum of C_i, H, W)``.

        Raises:
            ValueError: It is no tuple of as many maps, or a map has other channels.
        """
        self.demand_widths()
        in_channels = self.widths['in_channels']
        if not isinstance(features, (tuple, list)) or len(features) != len(in_channels):
            raise ValueError(
                f'expected a tuple of {len(in_channels)} maps as in_channels={in_channels} says, '
                f'got {describe(features)}; address a layer that returns several maps, without a '
                'selector'
            )
        for index, (feature, channels) in enumerate(zip(features, in_channels, strict=True)):
            check_map(feature)
            check_channels(feature, channels, f'in_channels[{index}]')
        size = self.size or tuple(features[0].shape[2:])
        return torch.cat([self._resize(feature, size) for feature in features], dim=1)

    def _resize(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(feature.shape[2:]) == size:
            return feature
        align = False if self.mode == 'bilinear' else None
        return F.interpolate(feature, size, mode=self.mode, align_corners=align)

"""Connector that makes one map of several scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.address import describe
from mmdistill.connectors.checks import check_channels, check_map


@MODELS.register_module()
class ConcatConnector(nn.Module):
    """Resizes the maps of a tuple to one size and concatenates their channels.

    For layers that return several scales, such as a backbone: one link teaches all of them.

    Config lines::

        student='pts_backbone', teacher='pts_backbone',          # no selector: the whole tuple
        student_connector=dict(type='ConcatConnector', in_channels=[64, 128])

    Args:
        in_channels: Channels of each map, in the order of the tuple.
        size: Height and width of the result, in cells; default those of the first map.
        mode: Interpolation, ``'bilinear'`` or ``'nearest'``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        size: tuple[int, int] | None = None,
        mode: str = 'bilinear',
    ) -> None:
        super().__init__()
        if mode not in ('bilinear', 'nearest'):
            raise ValueError(f"mode is 'bilinear' or 'nearest', not {mode!r}")
        self.in_channels = tuple(in_channels)
        self.size = None if size is None else tuple(size)
        self.mode = mode

    @property
    def out_channels(self) -> int:
        """Channels of the result."""
        return sum(self.in_channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map several ``(B, C_i, H_i, W_i)`` to one ``(B, out_channels, H, W)``.

        Raises:
            ValueError: It is no tuple of as many maps, or a map has other channels.
        """
        if not isinstance(features, (tuple, list)) or len(features) != len(self.in_channels):
            raise ValueError(
                f'expected a tuple of {len(self.in_channels)} maps as in_channels='
                f'{list(self.in_channels)} says, got {describe(features)}; address a layer that '
                'returns several maps, without a selector'
            )
        for index, (feature, channels) in enumerate(zip(features, self.in_channels, strict=True)):
            check_map(feature)
            check_channels(feature, channels, f'in_channels[{index}]')
        size = self.size or tuple(features[0].shape[2:])
        return torch.cat([self._resize(feature, size) for feature in features], dim=1)

    def _resize(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(feature.shape[2:]) == size:
            return feature
        align = False if self.mode == 'bilinear' else None
        return F.interpolate(feature, size, mode=self.mode, align_corners=align)

"""Connector between maps of different size."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.address import describe

MODES = ('bilinear', 'nearest', 'adaptive')


@MODELS.register_module()
class ResizeConnector(nn.Module):
    """Brings a map to another height and width over the same range.

    Config lines::

        teacher_connector=dict(type='ResizeConnector', size=(64, 64))

    Args:
        size: Height and width of the result, in cells.
        mode: ``'bilinear'`` or ``'nearest'`` interpolation, or ``'adaptive'`` average pooling
            for maps that become coarser.
    """

    def __init__(self, size: tuple[int, int], mode: str = 'bilinear') -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f'mode is one of {MODES}, not {mode!r}')
        self.size, self.mode = tuple(size), mode

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, *size)``.

        Raises:
            ValueError: The feature is no map.
        """
        if not isinstance(feature, Tensor) or feature.dim() != 4:
            raise ValueError(f'expected a map (B, C, H, W), got {describe(feature)}')
        if self.mode == 'adaptive':
            return F.adaptive_avg_pool2d(feature, self.size)
        align = False if self.mode == 'bilinear' else None
        return F.interpolate(feature, self.size, mode=self.mode, align_corners=align)

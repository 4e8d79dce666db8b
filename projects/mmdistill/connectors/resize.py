"""Connector between maps of different size."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.connectors.checks import check_map
from mmdistill.contracts import Connector
from mmdistill.reading.shapes import Layer

MODES = ('bilinear', 'nearest', 'adaptive')


@MODELS.register_module()
class ResizeConnector(Connector):
    """Brings a map to another height and width over the same range.

    Config lines::

        teacher_connector=dict(type='ResizeConnector')

    Args:
        size: Height and width of the result, in cells; by default those of the layer at the link's
            other end.
        mode: ``'bilinear'`` or ``'nearest'`` interpolation, or ``'adaptive'`` average pooling
            for maps that become coarser.
    """

    joins_places = True

    def __init__(self, size: tuple[int, int] | None = None, mode: str = 'bilinear') -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f'mode is one of {MODES}, not {mode!r}')
        self.size, self.mode = None if size is None else tuple(size), mode

    def bind(self, layer: Layer, other: Layer) -> None:
        """Read the size of the layer at the other end.

        Raises:
            ValueError: That is not known, or no map.
        """
        if self.size is None:
            if other.size is None or len(other.size) != 2:
                raise ValueError(f'size is not known: {other} has no height and width; give size')
            self.size = other.size

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, *size)``.

        Raises:
            ValueError: The feature is no map.
        """
        check_map(feature)
        if self.mode == 'adaptive':
            return F.adaptive_avg_pool2d(feature, self.size)
        align = False if self.mode == 'bilinear' else None
        return F.interpolate(feature, self.size, mode=self.mode, align_corners=align)

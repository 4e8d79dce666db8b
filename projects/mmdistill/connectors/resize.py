"""Connectors between maps of different size or range."""

from __future__ import annotations

from collections.abc import Sequence

import torch
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


@MODELS.register_module()
class RangeConnector(Connector):
    """Brings a BEV map over one range in metres to a grid over another range.

    A cell of the result lies where it lies on the ground, so a teacher that sees +-54 m can teach a
    student that sees +-32 m, with cells of any size on both sides. What lies outside the source's
    range is 0; a mask keeps it out of the loss where that matters.

    Config lines::

        teacher_connector=dict(
            type='RangeConnector', source_range=[-54, -54, 54, 54],
            target_range=[-32, -32, 32, 32], size=(128, 128), axes='xy')

    Args:
        source_range: What the map covers, ``[x0, y0, x1, y1]`` in metres, or a point cloud range
            ``[x0, y0, z0, x1, y1, z1]``.
        target_range: What the result covers, in the same form.
        size: Cells of the result along the map's two axes.
        axes: Order of both maps' axes: ``'xy'`` for ``(B, C, X, Y)`` as in BEVFusion, ``'yx'`` for
            ``(B, C, Y, X)`` as in CenterPoint and pillars.
        mode: ``'bilinear'`` reads the map at the centres of the result's cells; ``'area'`` averages
            it over each of them, which is right for cells that become larger.

    Raises:
        ValueError: A range is not of 4 or 6 increasing numbers, or the ranges do not overlap.
    """

    joins_places = True

    def __init__(
        self,
        source_range: Sequence[float],
        target_range: Sequence[float],
        size: tuple[int, int],
        axes: str = 'xy',
        mode: str = 'bilinear',
    ) -> None:
        super().__init__()
        if axes not in ('xy', 'yx'):
            raise ValueError(f"axes is 'xy' or 'yx', not {axes!r}")
        if mode not in ('bilinear', 'area'):
            raise ValueError(f"mode is 'bilinear' or 'area', not {mode!r}")
        self.source = _intervals(source_range, 'source_range', axes)
        self.target = _intervals(target_range, 'target_range', axes)
        for (low, high), (target_low, target_high) in zip(self.source, self.target, strict=True):
            if low >= target_high or high <= target_low:
                raise ValueError(
                    f'source_range {list(source_range)} and target_range {list(target_range)} do '
                    'not overlap'
                )
        self.size = tuple(size)
        self.weigh = _linear_weights if mode == 'bilinear' else _area_weights

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` over the source's range to ``(B, C, *size)`` over the target's.

        Raises:
            ValueError: The feature is no map.
        """
        check_map(feature)
        rows, columns = (
            self.weigh(cells, source, target_cells, target, feature.device).to(feature.dtype)
            for cells, source, target_cells, target in zip(
                feature.shape[2:], self.source, self.size, self.target, strict=True
            )
        )
        return rows @ (feature @ columns.T)


def _intervals(
    values: Sequence[float], argument: str, axes: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intervals in metres along a map's two axes."""
    half = len(values) // 2
    if len(values) not in (4, 6) or any(values[i] >= values[half + i] for i in range(half)):
        raise ValueError(
            f'{argument} is [x0, y0, x1, y1] or [x0, y0, z0, x1, y1, z1] with each 0 below its 1, '
            f'not {list(values)}'
        )
    x, y = ((float(values[axis]), float(values[half + axis])) for axis in (0, 1))
    return (x, y) if axes == 'xy' else (y, x)


def _edges(cells: int, interval: tuple[float, float], device: torch.device) -> Tensor:
    """Borders of equal cells in metres, ``(cells + 1,)``."""
    low, high = interval
    index = torch.arange(cells + 1, device=device, dtype=torch.float64)
    return low + (high - low) / cells * index


def _linear_weights(
    cells: int,
    source: tuple[float, float],
    target_cells: int,
    target: tuple[float, float],
    device: torch.device,
) -> Tensor:
    """Weights of linear interpolation at the target's centres, ``(target_cells, cells)``.

    Within half a cell of the source's border the border cell counts alone.
    """
    low, high = source
    edges = _edges(target_cells, target, device)
    centres = (edges[1:] + edges[:-1]) / 2
    position = (centres - low) * (cells / (high - low)) - 0.5
    index = torch.arange(cells, device=device)
    weights = (1 - (position.clamp(0, cells - 1)[:, None] - index).abs()).clamp_min(0)
    inside = (centres >= low) & (centres <= high)
    return weights * inside[:, None]


def _area_weights(
    cells: int,
    source: tuple[float, float],
    target_cells: int,
    target: tuple[float, float],
    device: torch.device,
) -> Tensor:
    """Share of each of the target's cells that each source cell covers, as the other weights."""
    edges, target_edges = _edges(cells, source, device), _edges(target_cells, target, device)
    low = torch.maximum(edges[:-1], target_edges[:-1, None])
    high = torch.minimum(edges[1:], target_edges[1:, None])
    return (high - low).clamp_min(0) * (target_cells / (target[1] - target[0]))

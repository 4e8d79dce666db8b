"""Connector between BEV maps that cover different ranges in metres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.connectors.checks import check_map
from mmdistill.contracts import Connector
from mmdistill.reading import Layer
from mmdistill3d.grids import MapGrid


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
            ``(B, C, Y, X)`` as in CenterPoint and pillars. In a link the layer's are read, and
            checked where they are given, as ``source_range`` is.
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
        axes: str | None = None,
        mode: str = 'bilinear',
    ) -> None:
        super().__init__()
        if axes not in (None, 'xy', 'yx'):
            raise ValueError(f"axes is 'xy' or 'yx', not {axes!r}")
        if mode not in ('bilinear', 'area'):
            raise ValueError(f"mode is 'bilinear' or 'area', not {mode!r}")
        self.source = _intervals(source_range, 'source_range')
        self.target = _intervals(target_range, 'target_range')
        for (low, high), (target_low, target_high) in zip(self.source, self.target, strict=True):
            if low >= target_high or high <= target_low:
                raise ValueError(
                    f'source_range {list(source_range)} and target_range {list(target_range)} do '
                    'not overlap'
                )
        self.source_range, self.target_range = tuple(source_range), tuple(target_range)
        self.size, self.axes = tuple(size), axes
        self.weigh = _linear_weights if mode == 'bilinear' else _area_weights

    @property
    def is_partial(self) -> bool:
        """Whether some of the result lies where the map tells nothing, and is 0."""
        return any(
            low > target_low or high < target_high
            for (low, high), (target_low, target_high) in zip(self.source, self.target, strict=True)
        )

    def bind(self, layer: Layer, other: Layer) -> None:
        """Read the axes of the layer, and check those and the range that the config gives.

        Raises:
            ValueError: The layer has other axes or another range, or nobody tells the axes.
        """
        grid = MapGrid(self.source_range, self.axes, arguments=('source_range', 'axes'))
        grid.bind(layer)
        self.axes = grid().axes

    def facts(self, layer: Layer) -> dict[str, Any]:
        """Return what the result covers."""
        return dict(axes=self.axes, range=self.target_range)

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` over the source's range to ``(B, C, *size)`` over the target's.

        Raises:
            ValueError: The feature is no map, or nobody told the axes.
        """
        check_map(feature)
        if self.axes is None:
            raise ValueError("RangeConnector outside of a link needs axes='xy' or 'yx'")
        sides = (self.source, self.target)
        sources, targets = sides if self.axes == 'xy' else (side[::-1] for side in sides)
        rows, columns = (
            self.weigh(cells, source, target_cells, target, feature.device).to(feature.dtype)
            for cells, source, target_cells, target in zip(
                feature.shape[2:], sources, self.size, targets, strict=True
            )
        )
        return rows @ (feature @ columns.T)


def _intervals(
    values: Sequence[float], argument: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intervals of x and y in metres."""
    half = len(values) // 2
    if len(values) not in (4, 6) or any(values[i] >= values[half + i] for i in range(half)):
        raise ValueError(
            f'{argument} is [x0, y0, x1, y1] or [x0, y0, z0, x1, y1, z1] with each 0 below its 1, '
            f'not {list(values)}'
        )
    x, y = ((float(values[axis]), float(values[half + axis])) for axis in (0, 1))
    return x, y


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

"""Where the cells of a BEV map lie in metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

AXES = ('xy', 'yx')


@dataclass(frozen=True)
class BEVGrid:
    """The range of a BEV map and the order of its two spatial axes.

    Args:
        point_cloud_range: ``(x, y, z, x, y, z)`` from low to high in metres, as in the detector's
            voxelisation; ``(x, y, x, y)`` will do.
        axes: ``'xy'`` for maps ``(B, C, X, Y)`` as in BEVFusion, ``'yx'`` for ``(B, C, Y, X)`` as
            in CenterPoint, PointPillars and SECOND.

    Raises:
        ValueError: The range is empty or has another length, or the axes are unknown.
    """

    point_cloud_range: Sequence[float]
    axes: str = 'xy'

    def __post_init__(self) -> None:
        limits = tuple(float(value) for value in self.point_cloud_range)
        if len(limits) not in (4, 6):
            raise ValueError(
                f'point_cloud_range has 6 numbers, (x, y, z) low and high; got {limits}'
            )
        object.__setattr__(self, 'point_cloud_range', limits)
        if any(high <= low for low, high in zip(self.low_xy, self.high_xy, strict=True)):
            raise ValueError(f'point_cloud_range is empty: {limits}')
        if self.axes not in AXES:
            raise ValueError(f'axes is one of {AXES}, not {self.axes!r}')

    @property
    def low_xy(self) -> tuple[float, float]:
        """Low ends of x and y in metres."""
        return self.point_cloud_range[:2]

    @property
    def high_xy(self) -> tuple[float, float]:
        """High ends of x and y in metres."""
        half = len(self.point_cloud_range) // 2
        return self.point_cloud_range[half : half + 2]

    def cell_size_m(self, size: Sequence[int]) -> tuple[float, float]:
        """Size of a cell along x and y in metres, for a map of ``size`` ``(H, W)``."""
        cells_xy = tuple(size) if self.axes == 'xy' else tuple(size)[::-1]
        return tuple(
            (high - low) / cells
            for low, high, cells in zip(self.low_xy, self.high_xy, cells_xy, strict=True)
        )

    def centers_m(self, size: Sequence[int], like: Tensor) -> Tensor:
        """Centres ``(x, y)`` of the cells in metres, ``(H, W, 2)``.

        Args:
            size: Height and width of the map in cells.
            like: Gives type and device.
        """
        height, width = size
        rows = torch.arange(height, device=like.device, dtype=like.dtype) + 0.5
        columns = torch.arange(width, device=like.device, dtype=like.dtype) + 0.5
        first, second = torch.meshgrid(rows, columns, indexing='ij')
        cells_xy = (first, second) if self.axes == 'xy' else (second, first)
        return torch.stack(
            [
                low + cells * step
                for low, cells, step in zip(
                    self.low_xy, cells_xy, self.cell_size_m(size), strict=True
                )
            ],
            dim=-1,
        )

    def is_like(self, other: BEVGrid) -> bool:
        """Whether another grid has the same axes, and the same range to a millimetre."""
        ends = [(*grid.low_xy, *grid.high_xy) for grid in (self, other)]
        near = all(abs(mine - theirs) < 1e-3 for mine, theirs in zip(*ends, strict=True))
        return near and self.axes == other.axes

    def contains(self, xy_m: Tensor) -> Tensor:
        """Return whether positions ``(..., 2)`` in metres lie in the range, ``(...)``."""
        inside = [
            (xy_m[..., axis] >= self.low_xy[axis]) & (xy_m[..., axis] < self.high_xy[axis])
            for axis in (0, 1)
        ]
        return inside[0] & inside[1]

    def cells(self, xy_m: Tensor, size: Sequence[int]) -> Tensor:
        """Fractional cells ``(row, column)`` of positions in metres; a cell's centre is at .0.

        Args:
            xy_m: ``(..., 2)``.
            size: Height and width of the map in cells.
        """
        low, step = constants(self.low_xy, xy_m), constants(self.cell_size_m(size), xy_m)
        cells_xy = (xy_m - low) / step - 0.5
        return cells_xy if self.axes == 'xy' else cells_xy.flip(-1)


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """Return ``like.new_tensor(values)`` without waiting for what the device still has to do."""
    return torch.tensor(list(values), dtype=like.dtype).to(like.device, non_blocking=True)

"""Points to voxels in standard ONNX operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from deploy.graph import Graph, Tensor


@dataclass(frozen=True)
class VoxelGrid:
    """What a hard voxeliser is told.

    Args:
        low_m: Lower corner (x, y, z) of the range, metres.
        size_m: Edge lengths (x, y, z) of a voxel, metres.
        cells: Number of voxels along (x, y, z).
        max_points: Most points kept in a voxel.
        max_voxels: Most voxels of a cloud.
        columns: Numbers per point; the first three are x, y, z.
    """

    low_m: Sequence[float]
    size_m: Sequence[float]
    cells: Sequence[int]
    max_points: int
    max_voxels: int
    columns: int


@dataclass(frozen=True)
class Voxels:
    """The M voxels of a cloud, sorted by their cell.

    Args:
        points: (M, max_points, columns) float32, zeros in unused slots.
        counts: (M,) int64, points kept in each.
        cells: (M,) int64, x * Y * Z + y * Z + z.
    """

    points: Tensor
    counts: Tensor
    cells: Tensor

    def means(self) -> Tensor:
        """Mean point (M, columns) of each voxel."""
        return self.points.sum(axis=1) / self.counts.cast(TensorProto.FLOAT).unsqueeze(1)


def voxelise(graph: Graph, points: Tensor, grid: VoxelGrid) -> Voxels:
    """Group points into voxels as a hard voxeliser does.

    A voxel keeps its first points in the order of the cloud; once ``max_voxels`` exist, counted
    by their first point, points of further voxels are dropped. Points outside the range or with
    a coordinate that is no number belong to no voxel.

    Args:
        graph: Gets the nodes.
        points: (N, columns) float32, N may be 0.
        grid: The voxeliser's settings.
    """
    points, keys = _inside(graph, points, grid)
    number = keys.rows
    # The smallest first; ONNX says that of equal values the one with the lower index comes first,
    # so the points of a cell stay in the order of the cloud.
    sorted_keys, order = graph.ops('TopK', keys, number, outputs=2, axis=0, largest=0, sorted=1)
    is_first = graph.starts_of_runs(sorted_keys)
    voxel_of_point = is_first.cumsum() - 1
    first = is_first.where_true()
    slot = graph.arange(number) - first.take(voxel_of_point)
    ends = graph.concat([first, number]).cut(1)  # none where there is no voxel

    # Voxels are numbered by their first point to tell which come within the limit.
    first_point = order.take(first)
    ones = graph.full(first.rows, np.int64(1))
    arrivals = graph.full(number, np.int64(0)).scattered(first_point, ones)
    is_kept = (arrivals.cumsum() - 1).take(first_point) < grid.max_voxels
    kept = is_kept.where_true()
    number_of_kept = is_kept.cumsum() - 1

    is_used = (slot < grid.max_points) & is_kept.take(voxel_of_point)
    used = is_used.where_true()
    position = number_of_kept.take(voxel_of_point.take(used)) * grid.max_points + slot.take(used)
    slots = graph.concat([kept.rows * grid.max_points, [grid.columns]])
    padded = graph.full(slots, np.float32(0)).scattered_rows(
        position, points.take(order.take(used))
    )
    return Voxels(
        points=padded.reshape(-1, grid.max_points, grid.columns),
        counts=graph.op('Min', (ends - first).take(kept), grid.max_points),
        cells=sorted_keys.take(first).take(kept),
    )


def _inside(graph: Graph, points: Tensor, grid: VoxelGrid) -> tuple[Tensor, Tensor]:
    """The points within the range, and the number of their cell."""
    low, size = (np.asarray(values, np.float32) for values in (grid.low_m, grid.size_m))
    cells = graph.op('Floor', (points.cut(0, 3, axis=1) - low) / size)
    # Compared before the cast: NaN fails both, and large values would overflow an integer.
    inside = (cells >= 0.0) & (cells < np.asarray(grid.cells, np.float32))
    hits = inside.cast(TensorProto.INT64).sum(axis=1)
    rows = graph.op('Equal', hits, 3).where_true()
    _, size_y, size_z = (int(number) for number in grid.cells)
    strides = [size_y * size_z, size_z, 1]
    keys = (cells.take(rows).cast(TensorProto.INT64) * strides).sum(axis=1)
    return points.take(rows), keys

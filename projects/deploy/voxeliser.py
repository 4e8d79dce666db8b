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
    """The M voxels of a cloud, sorted by their cell, and the P points in them.

    Args:
        graph: Gets the nodes.
        rows: (P,) int64, the points' rows in the cloud, sorted by voxel, those of one in the order
            of the cloud.
        voxel: (P,) int64, the voxel of each point.
        slot: (P,) int64, its place in the voxel.
        counts: (M,) int64, points in each voxel.
        cells: (M,) int64, x * Y * Z + y * Z + z.
        max_points: Slots of a voxel.
    """

    graph: Graph
    rows: Tensor
    voxel: Tensor
    slot: Tensor
    counts: Tensor
    cells: Tensor
    max_points: int

    def table(self, values: Tensor, columns: int) -> Tensor:
        """Values (P, columns) in their slots (M, max_points, columns); zeros in those unused."""
        position = self.voxel * self.max_points + self.slot
        return self._scattered(position, values, columns).reshape(-1, self.max_points, columns)

    def means(self, values: Tensor, columns: int) -> Tensor:
        """Mean (M, columns) of the points' values (P, columns)."""
        # With the slots first, the sum is one of long rows, which takes a tenth of the time.
        position = self.slot * self.counts.rows + self.voxel
        slots = self._scattered(position, values, columns).reshape(self.max_points, -1, columns)
        return slots.sum(axis=0) / self.counts.cast(TensorProto.FLOAT).unsqueeze(1)

    def _scattered(self, position: Tensor, values: Tensor, columns: int) -> Tensor:
        shape = self.graph.concat([self.counts.rows * self.max_points, [columns]])
        return self.graph.full(shape, np.float32(0)).scattered_rows(position, values)


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
    keys, beyond = _cell_numbers(graph, points, grid)
    number = keys.rows
    # The smallest first; ONNX says that of equal values the one with the lower index comes first,
    # so the points of a cell stay in the order of the cloud.
    sorted_keys, order = graph.ops('TopK', keys, number, outputs=2, axis=0, largest=0, sorted=1)
    is_first = graph.starts_of_runs(sorted_keys)
    run = is_first.cumsum() - 1  # of points in the same cell; those outside make the last one
    first = is_first.where_true()
    ends = graph.concat([first, number]).cut(1)  # none where there is no run
    is_inside = sorted_keys.take(first) < beyond

    # Voxels are numbered by their first point to tell which come within the limit.
    first_point = order.take(first)
    counted = is_inside.cast(TensorProto.INT64)
    arrivals = graph.full(number, np.int64(0)).scattered(first_point, counted)
    is_kept = ((arrivals.cumsum() - 1).take(first_point) < grid.max_voxels) & is_inside
    kept = is_kept.where_true()

    voxel = graph.where(is_kept, is_kept.cumsum() - 1, -1).take(run)
    slot = graph.arange(number) - first.take(run)
    used = ((slot < grid.max_points) & (voxel >= 0)).where_true()
    return Voxels(
        graph,
        rows=order.take(used),
        voxel=voxel.take(used),
        slot=slot.take(used),
        counts=graph.op('Min', (ends - first).take(kept), grid.max_points),
        cells=sorted_keys.take(first).take(kept),
        max_points=grid.max_points,
    )


def _cell_numbers(graph: Graph, points: Tensor, grid: VoxelGrid) -> tuple[Tensor, int]:
    """Numbers (N,) of the points' cells, and the number that stands for outside."""
    # A row for each axis: the same on columns of three takes several times as long.
    places = points.transpose(1, 0).cut(0, 3)
    low, size, cells = (
        np.asarray(values, np.float32)[:, None] for values in (grid.low_m, grid.size_m, grid.cells)
    )
    cell = graph.op('Floor', (places - low) / size)
    # Compared before the cast: NaN fails both, and large values would overflow an integer.
    hits = ((cell >= 0.0) & (cell < cells)).cast(TensorProto.INT32).sum(axis=0)
    is_inside = graph.op('Equal', hits, np.int32(3))
    size_x, size_y, size_z = (int(number) for number in grid.cells)
    strides = np.asarray([[size_y * size_z], [size_z], [1]], np.int64)
    numbers = graph.where(is_inside, cell, 0.0).cast(TensorProto.INT64) * strides
    beyond = size_x * size_y * size_z
    return graph.where(is_inside, numbers.sum(axis=0), beyond), beyond

"""Active sites of a sparse tensor and the rulebooks of its convolutions, in standard operators.

There is no hash table among ONNX's operators, and a table of the whole grid would be large. So the
sites are kept sorted by (x, y, z), which puts those of one (x, y) column together, and are found
in two steps: a table over the plane holds the number of a cell's column, a second one with a row
per column that exists holds the sites along z. Both have a border of one empty cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from onnx import TensorProto

from deploy.graph import Graph, Tensor

Cells = tuple[int, int, int]


@dataclass
class Sites:
    """M active cells of a grid, sorted by (x, y, z), in K columns.

    Args:
        graph: Gets the nodes.
        grid: Cells along (x, y, z).
        column_key: (K,) int64, x * Y + y of each column, ascending.
        column: (M,) int64, the column of each site.
        z: (M,) int64.
    """

    graph: Graph
    grid: Cells
    column_key: Tensor
    column: Tensor
    z: Tensor

    def __post_init__(self) -> None:
        self.x = self.column_key // self.grid[1]
        self.y = self.column_key - self.x * self.grid[1]

    @cached_property
    def columns_of_plane(self) -> Tensor:
        """Column of each cell of the plane, ((X + 2) * (Y + 2),); K where there is none."""
        size_x, size_y, _ = self.grid
        number = self.column_key.rows
        empty = self.graph.op('Expand', number, [(size_x + 2) * (size_y + 2)])
        places = (self.x + 1) * (size_y + 2) + (self.y + 1)
        return empty.scattered(places, self.graph.arange(number))

    @cached_property
    def sites_of_columns(self) -> Tensor:
        """Site of each cell of each column, ((K + 1) * (Z + 2),) int32.

        M where there is none, and throughout column K.
        """
        size_z = self.grid[2]
        number = self.z.rows.cast(TensorProto.INT32)
        empty = self.graph.op('Expand', number, (self.column_key.rows + [1]) * (size_z + 2))
        sites = self.graph.arange(self.z.rows).cast(TensorProto.INT32)
        return empty.scattered(self.column * (size_z + 2) + (self.z + 1), sites)

    def cells(self) -> Tensor:
        """Number x * Y * Z + y * Z + z of each site's cell, (M,) int64."""
        return self.column_key.take(self.column) * self.grid[2] + self.z


def sites_of_cells(graph: Graph, cells: Tensor, grid: Cells) -> Sites:
    """Sites of sorted cell numbers x * Y * Z + y * Z + z, (M,) int64."""
    plane = cells // grid[2]
    is_first = graph.starts_of_runs(plane)
    return Sites(
        graph,
        grid,
        column_key=plane.take(is_first.where_true()),
        column=is_first.cumsum() - 1,
        z=cells - plane * grid[2],
    )


def rulebook(source: Sites, target: Sites, kernel: Cells, stride: Cells, padding: Cells) -> Tensor:
    """For each site of ``target`` and each kernel offset, the site of ``source`` under it.

    Returns:
        (M of target, kx * ky * kz) int32; the number of sites of ``source`` where there is none.
    """
    graph, (_, size_y, size_z) = source.graph, source.grid
    corner_x = target.x * stride[0] + (1 - padding[0])
    corner_y = target.y * stride[1] + (1 - padding[1])
    corner_z = target.z * stride[2] + (1 - padding[2])
    corner = (corner_x * (size_y + 2) + corner_y).unsqueeze(1)
    offsets = [dx * (size_y + 2) + dy for dx in range(kernel[0]) for dy in range(kernel[1])]
    columns = source.columns_of_plane.take(corner + np.asarray([offsets], np.int64))
    start = (columns * (size_z + 2)).take(target.column) + corner_z.unsqueeze(1)
    # All kz sites from a place upwards are one row here, so that one lookup fetches them.
    table = source.sites_of_columns
    runs = graph.concat(
        [
            table.cut(dz, dz - kernel[2] + 1 or None).unsqueeze(1)  # as long as the shortest
            for dz in range(kernel[2])
        ],
        axis=1,
    )
    return runs.take(start).reshape(-1, int(np.prod(kernel)))


def strided_sites(
    source: Sites, grid: Cells, kernel: Cells, stride: Cells, padding: Cells
) -> Sites:
    """Sites of a convolution's output: every cell of ``grid`` that sees a site of ``source``."""
    graph = source.graph
    size_y, size_z = grid[1], grid[2]
    plane = grid[0] * size_y
    # Output columns of each input column; those that there are not become the cell after the last.
    keys = [
        graph.where(x_is_there & y_is_there, x * size_y + y, plane).unsqueeze(1)
        for x, x_is_there in _outputs(source.x, grid[0], kernel[0], stride[0], padding[0])
        for y, y_is_there in _outputs(source.y, size_y, kernel[1], stride[1], padding[1])
    ]
    keys = graph.concat(keys, axis=1)
    column_key = _marked(graph, keys.reshape(-1), graph.tensor([plane]), beyond=1).where_true()
    number_of_columns = column_key.rows
    numbers = graph.op('Expand', number_of_columns, [plane + 1]).scattered(
        column_key, graph.arange(number_of_columns)
    )
    columns = numbers.take(keys).take(source.column)
    # Their sites along z, in a table with a row per column and one more for what is not there.
    last = number_of_columns * size_z
    cells = [
        graph.where(z_is_there.unsqueeze(1), columns * size_z + z.unsqueeze(1), last).reshape(-1)
        for z, z_is_there in _outputs(source.z, size_z, kernel[2], stride[2], padding[2])
    ]
    found = _marked(graph, graph.concat(cells), last, beyond=size_z).where_true()
    column = found // size_z
    return Sites(graph, grid, column_key, column, found - column * size_z)


def _outputs(
    cell: Tensor, size: int, kernel: int, stride: int, padding: int
) -> list[tuple[Tensor, Tensor]]:
    """Along one axis, the output cells that an input cell reaches, and whether they are there."""
    shifted = cell + padding
    highest = shifted // stride
    reached = []
    for step in range(-(-kernel // stride)):
        output = highest - step
        within = (output >= 0) & (output < size)
        reached.append((output, within & (shifted - output * stride < kernel)))
    return reached


def _marked(graph: Graph, positions: Tensor, length: Tensor, beyond: int) -> Tensor:
    """Whether each of ``length`` (1,) places is among the positions, of which some lie beyond."""
    marks = graph.full(length + [beyond], np.bool_(False))
    marks = marks.scattered(positions, graph.full(positions.rows, np.bool_(True)))
    return marks.cut(0, -beyond)

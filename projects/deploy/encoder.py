"""The sparse encoder in standard operators: gather the neighbours, multiply, scatter to a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deploy.graph import Graph, Tensor
from deploy.layers import ResidualBlock, SparseConv, Stage
from deploy.sites import Cells, Sites, rulebook, sites_of_cells, strided_sites


def encode(
    graph: Graph,
    stages: Sequence[Stage],
    features: Tensor,
    cells: Tensor,
    grid: Cells,
    prefix: str,
) -> Tensor:
    """Voxels to a bird's-eye-view map.

    Args:
        graph: Gets the nodes, and the outputs of the stages among its layers.
        stages: What :func:`deploy.layers.stages_of` read.
        features: (M, C) float32, sorted by cell.
        cells: (M,) int64, x * Y * Z + y * Z + z in ``grid``.
        grid: Cells along (x, y, z) of the encoder.
        prefix: Name of the encoder in the detector.

    Returns:
        The map (1, C * Z, X, Y); channel c at height z is c * Z + z.
    """
    writer = _Writer(graph, sites_of_cells(graph, cells, grid))
    for stage in stages:
        for block in stage.blocks:
            features = writer.run(block, features)
        graph.layers[f'{prefix}.{stage.name}'] = features.name
    size_x, size_y, size_z = writer.sites.grid
    channels = stages[-1].blocks[-1].weight.shape[0]
    volume = graph.full(graph.tensor([size_x * size_y * size_z, channels]), np.float32(0))
    volume = volume.scattered_rows(writer.sites.cells(), features)
    volume = volume.reshape(size_x, size_y, size_z, channels)
    # In two steps, each of which moves whole rows, the transposition is several times faster.
    volume = volume.transpose(0, 3, 2, 1).transpose(1, 2, 0, 3)
    return volume.reshape(1, channels * size_z, size_x, size_y)


class _Writer:
    """Writes convolutions one after the other, and each rulebook once."""

    def __init__(self, graph: Graph, sites: Sites) -> None:
        self.graph, self.sites = graph, sites
        self._rulebooks: dict[str, Tensor] = {}

    def run(self, block: SparseConv | ResidualBlock, features: Tensor) -> Tensor:
        if isinstance(block, ResidualBlock):
            inner = self._convolve(block.first, features)
            return (self._convolve(block.second, inner) + features).relu()
        return self._convolve(block, features)

    def _convolve(self, conv: SparseConv, features: Tensor) -> Tensor:
        neighbours = self._rulebook_of(conv)
        outputs, inputs = conv.weight.shape[0], conv.weight.shape[-1]
        kernel = conv.weight.reshape(outputs, -1).T
        # The row after the last stands for the sites that are not there.
        padded = self.graph.concat([features, np.zeros((1, inputs), np.float32)])
        patches = padded.take(neighbours).reshape(-1, kernel.shape[0])
        output = self.graph.op('Gemm', patches, kernel, conv.bias)
        return output.relu() if conv.relu else output

    def _rulebook_of(self, conv: SparseConv) -> Tensor:
        """The convolution's rulebook; the sites become those of its output."""
        source, geometry = self.sites, (conv.kernel, conv.stride, conv.padding)
        if not conv.submanifold:
            self.sites = strided_sites(source, conv.output_cells(source.grid), *geometry)
            return rulebook(source, self.sites, *geometry)
        if conv.rulebook not in self._rulebooks:
            self._rulebooks[conv.rulebook] = rulebook(source, source, *geometry)
        return self._rulebooks[conv.rulebook]

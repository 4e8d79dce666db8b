"""A map of pillars in standard ONNX operators: ``PillarFeatureNet`` and ``PointPillarsScatter``."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from torch import nn

from deploy.graph import Graph, Tensor
from deploy.layers import folded
from deploy.voxeliser import VoxelGrid, Voxels


def pillar_map(
    graph: Graph, net: nn.Module, points: Tensor, voxels: Voxels, grid: VoxelGrid
) -> Tensor:
    """The map that a 2D backbone reads, zeros where no pillar stands.

    Args:
        graph: Gets the nodes.
        net: A ``PillarFeatureNet``; its norms' running statistics are folded in.
        points: (N, columns) float32, the cloud.
        voxels: Its pillars.
        grid: The settings with which they were made.

    Returns:
        (1, C, Y, X).

    Raises:
        ValueError: A norm cannot be folded.
    """
    _, size_y, size_z = grid.cells
    column = voxels.cells // size_z
    x = column // size_y
    y, z = column - x * size_y, voxels.cells - column * size_z
    features, channels = pillar_features(graph, net, points, voxels, (x, y, z), grid.columns)
    size_x = grid.cells[0]
    plane = graph.full(graph.tensor([size_y * size_x, channels]), np.float32(0))
    plane = plane.scattered_rows(y * size_x + x, features)
    return plane.transpose(1, 0).reshape(1, channels, size_y, size_x)


def pillar_features(
    graph: Graph,
    net: nn.Module,
    points: Tensor,
    voxels: Voxels,
    xyz_of_cells: tuple[Tensor, Tensor, Tensor],
    columns: int,
) -> tuple[Tensor, int]:
    """Features (M, channels) of pillars, and the number of channels.

    What a point says of itself is computed once for each point, not for each slot; a slot that is
    not used takes part in the maxima as a row of zeros, as in the network.
    """
    kept = points.take(voxels.rows)
    xyz, others = kept.cut(0, 3, axis=1), kept.cut(3, axis=1)
    from_center = xyz - _centers(graph, net, xyz_of_cells).take(voxels.voxel)
    # The legacy way writes the offsets over the places.
    places = from_center if net.legacy and net._with_voxel_center else xyz
    parts, width = [places, others], columns
    if net._with_cluster_center:
        parts.append(xyz - voxels.means(xyz, 3).take(voxels.voxel))
        width += 3
    if net._with_voxel_center:
        parts.append(from_center)
        width += 3
    if net._with_distance:
        parts.append(graph.op('ReduceL2', places, [1], keepdims=1))
        width += 1
    features = voxels.table(graph.concat(parts, axis=1), width)
    for index, layer in enumerate(net.pfn_layers):
        features, width = _layer(graph, layer, f'pfn_layers.{index}', features, voxels)
    return features, width


def _centers(graph: Graph, net: nn.Module, xyz: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Middle (M, 3) of the cells x, y, z (M,) each, metres."""
    sizes = (net.vx, net.vy, net.vz)
    offsets = (net.x_offset, net.y_offset, net.z_offset)
    middles = [
        (cell.cast(TensorProto.FLOAT) * float(size) + float(offset)).unsqueeze(1)
        for cell, size, offset in zip(xyz, sizes, offsets, strict=True)
    ]
    return graph.concat(middles, axis=1)


def _layer(
    graph: Graph, layer: nn.Module, name: str, features: Tensor, voxels: Voxels
) -> tuple[Tensor, int]:
    """A ``PFNLayer`` on slots (M, max_points, F); (M, C) behind the last one."""
    weight, bias = folded(layer.linear.weight, layer.norm, f'{name}.norm')
    product = graph.op('MatMul', features, weight.T)
    if layer.mode == 'avg':
        counts = voxels.counts.cast(TensorProto.FLOAT).unsqueeze(1)
        pooled = (product + bias).relu().sum(axis=1) / counts
    else:  # a bias and a ReLU leave the largest where it is
        pooled = (graph.op('ReduceMax', product, [1], keepdims=0) + bias).relu()
    if layer.last_vfe:
        return pooled, layer.units
    each = (product + bias).relu()
    repeated = graph.op('Expand', pooled.unsqueeze(1), graph.op('Shape', each))
    return graph.concat([each, repeated], axis=2), 2 * layer.units

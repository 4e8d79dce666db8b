"""BEVFusion's LiDAR branch from points to boxes: what is hand-written and what torch traces."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import nn

from deploy.attention import with_attention_by_head
from deploy.dense import OUTPUTS, DensePart, check_head, trace
from deploy.encoder import encode
from deploy.graph import Graph
from deploy.layers import stages_of
from deploy.voxeliser import VoxelGrid, voxelise

ENCODER = 'pts_middle_encoder'


def voxel_grid(detector: nn.Module) -> VoxelGrid:
    """The settings with which a ``BEVFusion`` voxelises in evaluation."""
    voxels = detector.pts_voxel_layer
    return VoxelGrid(
        low_m=voxels.point_cloud_range[:3],
        size_m=voxels.voxel_size,
        cells=voxels.grid_size.tolist(),
        max_points=voxels.max_num_points,
        max_voxels=voxels.max_voxels[1],
        columns=detector.pts_middle_encoder.in_channels,
    )


def sparse_part(detector: nn.Module) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Points to the encoder's map, and the tensors of the layers on the way.

    Args:
        detector: A ``BEVFusion`` in eval mode.

    Returns:
        A model with the input ``points`` (N, columns) and the output ``bev`` (1, C, X, Y); name of
        a layer -> name of its tensor. The rows of sparse layers are sorted by (x, y, z).
    """
    grid, encoder = voxel_grid(detector), detector.pts_middle_encoder
    graph = Graph()
    points = graph.input('points', TensorProto.FLOAT, ['N', grid.columns])
    voxels = voxelise(graph, points, grid)
    features = voxels.means(points.take(voxels.rows), grid.columns)
    graph.layers.update(cells=voxels.cells.name, voxels=features.name)
    # The encoder's grid may have more cells along z than there are voxels.
    spare = encoder.sparse_shape[2] - grid.cells[2]
    cells = voxels.cells + (voxels.cells // grid.cells[2]) * spare
    stages = stages_of(encoder, detector.pts_voxel_layer.feature_scale)
    bev = encode(graph, stages, features, cells, tuple(encoder.sparse_shape), ENCODER)
    graph.output('bev', bev, [1, *encoder.out_shape])
    graph.layers[ENCODER] = 'bev'
    return graph.build('points_to_bev'), graph.layers


def dense_part(detector: nn.Module) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The encoder's map to boxes, and the tensors of the layers on the way.

    Returns:
        A model with the input ``bev`` and the outputs :data:`deploy.dense.OUTPUTS`.
    """
    module = DensePart(detector).eval()
    bev = torch.zeros(1, *detector.pts_middle_encoder.out_shape)
    with torch.no_grad():
        layers = [name for name in module(bev) if name not in OUTPUTS]
    by_head = with_attention_by_head(module)
    return trace(by_head, {'bev': bev}, OUTPUTS), {name: name for name in layers}


def box_numbers(detector: nn.Module) -> int:
    """Numbers of a box: 7, or 9 with velocity."""
    return 9 if detector.bbox_head.bbox_coder.code_size == 10 else 7


def decoding(detector: nn.Module) -> dict[str, Any]:
    """What the runtime is told to make boxes of the outputs.

    Raises:
        ValueError: The head's suppression is not known.
    """
    from bevfusion.nms import GROUPS

    head = detector.bbox_head
    check_head(head)
    nms = head.test_cfg.get('nms_type')
    if nms not in (None, 'circle', 'rotate'):
        raise ValueError(f"nms_type is {nms!r}; exported are None, 'circle' and 'rotate'")
    groups = GROUPS.get(head.test_cfg['dataset'], ()) if nms else ()
    return dict(
        type='queries',
        score_threshold=head.bbox_coder.score_threshold or 0.0,
        nms=nms,
        nms_groups=[[list(classes), limit] for classes, limit in groups],
        max_candidates=head.test_cfg.get('pre_maxsize'),
        max_kept=head.test_cfg.get('post_maxsize'),
    )


@torch.no_grad()
def torch_layers(detector: nn.Module, points: np.ndarray) -> dict[str, np.ndarray]:
    """The layers of an export as torch computes them, in the order in which they run.

    Args:
        detector: A ``BEVFusion`` in eval mode.
        points: (N, columns) float32.
    """
    encoder, grid = detector.pts_middle_encoder, voxel_grid(detector)
    features, cells, _ = detector.voxelize([torch.from_numpy(points)])
    number = _cell_numbers(cells, grid.cells)
    order = number.argsort()
    scale = detector.pts_voxel_layer.feature_scale or 1.0  # exports have it in their first layer
    means = features[order].numpy() / np.float32(scale)
    layers = {'cells': number[order].numpy(), 'voxels': means}
    recorded = {}

    def record(name: str):
        def hook(module, inputs, output) -> None:
            order = _cell_numbers(output.indices, output.spatial_shape).argsort()
            recorded[name] = output.features[order].numpy()

        return hook

    stages = [stage.name for stage in stages_of(encoder)]
    hooks = [
        encoder.get_submodule(name).register_forward_hook(record(f'{ENCODER}.{name}'))
        for name in stages
    ]
    try:
        bev = encoder(features, cells, 1)
    finally:
        for hook in hooks:
            hook.remove()
    layers.update(recorded)
    layers[ENCODER] = bev.numpy()
    layers.update({name: value.numpy() for name, value in DensePart(detector)(bev).items()})
    return layers


def _cell_numbers(cells: torch.Tensor, grid: list[int]) -> torch.Tensor:
    """x * Y * Z + y * Z + z of cells (M, 4): sample, x, y, z."""
    x, y, z = cells[:, 1:].long().unbind(dim=1)
    return (x * grid[1] + y) * grid[2] + z


@torch.no_grad()
def undecided(
    detector: nn.Module, points: np.ndarray, found: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """Which of the found boxes another runtime may rightly give otherwise: all or none.

    Where the last of the best cells is as good as the first of the others, another runtime may
    take that one; and as the queries attend to each other, one other query changes all boxes.

    Args:
        detector: A ``BEVFusion`` in eval mode.
        points: (N, columns) float32.
        found: Its boxes, scores and labels for these points.

    Returns:
        (number of boxes,) bool.
    """
    head = copy.copy(detector.bbox_head)
    head.num_proposals += 1
    outputs = head.forward_single(detector.extract_feat(dict(points=[torch.from_numpy(points)]))[0])
    scores = outputs['query_heatmap_score'][0].gather(0, outputs['query_labels'])[0]
    last, first_left_out = scores.sort(descending=True).values[-2:].tolist()
    return np.full(len(found[0]), last - first_left_out < _SAME_SCORE)


_SAME_SCORE = 1e-5

"""A detector for Autoware: sparse convolutions as the operators of its TensorRT plugins.

Written from the weights, without tracing and without a GPU. The graph takes and gives what the
node ``autoware_bevfusion`` does: voxels in, codes of boxes out. No GPU has run it; the tests run it
with the numpy operators of :mod:`deploy.reference`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
import torch.nn.functional as F
import yaml
from onnx import TensorProto
from torch import nn

from deploy.bevfusion import voxel_grid
from deploy.dense import DensePart, trace
from deploy.graph import Graph, Tensor
from deploy.layers import ResidualBlock, SparseConv, stages_of

DOMAIN = 'autoware'
ALGORITHM = 1  # spconv's MaskImplicitGemm


def sparse_part(detector: nn.Module) -> onnx.ModelProto:
    """Voxels to the encoder's map.

    Args:
        detector: A ``BEVFusion`` in eval mode.

    Returns:
        A model with the inputs ``voxels`` (M, points, columns) float32, ``coors`` (M, 3) int32 in
        the order z, y, x, ``num_points_per_voxel`` (M,) int32, and the output ``bev``.
    """
    grid, encoder = voxel_grid(detector), detector.pts_middle_encoder
    graph = Graph()
    voxels = graph.input('voxels', TensorProto.FLOAT, ['M', grid.max_points, grid.columns])
    coors = graph.input('coors', TensorProto.INT32, ['M', 3])
    counts = graph.input('num_points_per_voxel', TensorProto.INT32, ['M'])
    features = voxels.sum(axis=1) / counts.cast(TensorProto.FLOAT).unsqueeze(1)
    xyz = coors.take([2, 1, 0], axis=1)
    sample = coors.take([0], axis=1) * np.int32(0)
    writer = _Writer(graph, graph.concat([sample, xyz], axis=1), tuple(encoder.sparse_shape))
    for stage in stages_of(encoder, detector.pts_voxel_layer.feature_scale):
        for block in stage.blocks:
            features = writer.run(block, features)
    size_x, size_y, size_z = writer.cells
    channels = encoder.output_channels
    strides = [size_y * size_z, size_z, 1]
    places = (writer.indices.cut(1, 4, axis=1).cast(TensorProto.INT64) * strides).sum(axis=1)
    volume = graph.full(graph.tensor([size_x * size_y * size_z, channels]), np.float32(0))
    volume = volume.scattered_rows(places, features).reshape(size_x, size_y, size_z, channels)
    bev = volume.transpose(3, 2, 0, 1).reshape(1, channels * size_z, size_x, size_y)
    graph.output('bev', bev, [1, *encoder.out_shape])
    return graph.build('autoware_sparse', domains=[DOMAIN])


class BoxCodes(DensePart):
    """The encoder's map to what ``autoware_bevfusion`` decodes itself."""

    def forward(self, bev: torch.Tensor) -> dict[str, torch.Tensor]:
        """Codes of a map (1, C, X, Y).

        Returns:
            ``bbox_pred`` (10, P): place in cells, centre z, log sizes, sine and cosine,
            velocity; ``score`` (P,); ``label_pred`` (P,) int64.
        """
        head = self.bbox_head
        outputs = head.forward_single(self.pts_neck(self.pts_backbone(bev))[0])
        names = ('center', 'height', 'dim', 'rot', 'vel')
        labels = outputs['query_labels']
        one_hot = F.one_hot(labels, head.num_classes).transpose(1, 2)
        logits = outputs['heatmap'][..., -head.num_proposals :]
        score = logits.sigmoid() * outputs['query_heatmap_score'] * one_hot
        return {
            'bbox_pred': torch.cat([outputs[n][0, :, -head.num_proposals :] for n in names]),
            'score': score[0].max(dim=0).values,
            'label_pred': labels[0],
        }


def dense_part(detector: nn.Module) -> onnx.ModelProto:
    """The encoder's map to :class:`BoxCodes`."""
    bev = torch.zeros(1, *detector.pts_middle_encoder.out_shape)
    outputs = ('bbox_pred', 'score', 'label_pred')
    return trace(BoxCodes(detector).eval(), {'bev': bev}, outputs)


def package_yaml(detector: nn.Module, classes: Sequence[str], columns: Sequence[str]) -> str:
    """The node's ``ml_package`` file: what it has to know of the network.

    Args:
        detector: A ``BEVFusion``.
        classes: Names of its classes.
        columns: What the numbers of a point are.

    Raises:
        ValueError: The node cannot give these points, or reads other boxes.
    """
    if tuple(columns) not in _POINTS:
        raise ValueError(
            f'a point of this detector is {", ".join(columns)}; the node gives '
            f'{" or ".join("(" + ", ".join(names) + ")" for names in _POINTS)}'
        )
    if detector.bbox_head.bbox_coder.code_size != 10:
        raise ValueError(
            f'boxes of this detector have {detector.bbox_head.bbox_coder.code_size} numbers; the '
            'node reads 10, velocities among them'
        )
    if detector.bbox_head.bbox_coder.height_of != 'centre':
        raise ValueError(
            "heights of this detector are those of boxes' tops; the node reads those of centres. "
            'Distil a student whose bbox_coder has the default, and export that'
        )
    grid, head = voxel_grid(detector), detector.bbox_head
    low, size = grid.low_m, grid.size_m
    high = [round(a + s * cells, 6) for a, s, cells in zip(low, size, grid.cells, strict=True)]
    factor = head.bbox_coder.out_size_factor
    parameters = dict(
        class_names=[name.upper() for name in classes],
        voxels_num=[1, grid.max_voxels // 2, grid.max_voxels],  # smallest, usual, largest
        point_cloud_range=[*map(float, low), *map(float, high)],
        voxel_size=[float(edge) for edge in size],
        num_proposals=head.num_proposals,
        out_size_factor=factor,
        max_points_per_voxel=grid.max_points,
        use_intensity=_POINTS[tuple(columns)],
        # What follows concerns cameras, of which there are none; the node wants it all the same.
        d_bound=[1.0, 166.2, 1.4],
        x_bound=[float(low[0]), float(high[0]), factor * float(size[0])],
        y_bound=[float(low[1]), float(high[1]), factor * float(size[1])],
        z_bound=[-10.0, 10.0, 20.0],
        img_aug_scale_x=0.0,
        img_aug_scale_y=0.0,
        **dict.fromkeys(_CAMERA_NUMBERS, 0),
    )
    return yaml.safe_dump({'/**': {'ros__parameters': parameters}}, sort_keys=False)


# Numbers of a point that the node makes, and whether that is with intensities.
_POINTS = {
    ('x', 'y', 'z', 'time_lag'): False,
    ('x', 'y', 'z', 'intensity', 'time_lag'): True,
}
_CAMERA_NUMBERS = (
    'num_cameras',
    'raw_image_height',
    'raw_image_width',
    'roi_height',
    'roi_width',
    'features_height',
    'features_width',
    'num_depth_features',
    'image_feature_dim',
)


class _Writer:
    """Writes convolutions one after the other, and each rulebook once."""

    def __init__(self, graph: Graph, indices: Tensor, cells: tuple[int, int, int]) -> None:
        self.graph, self.indices, self.cells = graph, indices, cells
        self._rulebooks: dict[str, list[Tensor]] = {}

    def run(self, block: SparseConv | ResidualBlock, features: Tensor) -> Tensor:
        if isinstance(block, ResidualBlock):
            inner = self._convolve(block.first, features)
            return (self._convolve(block.second, inner) + features).relu()
        return self._convolve(block, features)

    def _convolve(self, conv: SparseConv, features: Tensor) -> Tensor:
        if conv.rulebook not in self._rulebooks:
            self._rulebooks[conv.rulebook] = self._pairs(conv)
        indices, pairs, mask, order, _ = self._rulebooks[conv.rulebook]
        # Bias and ReLU stay outside: released plugins take five inputs and know no activation.
        output = self.graph.op(
            'ImplicitGemm',
            features,
            conv.weight,
            pairs,
            mask,
            order,
            domain=DOMAIN,
            is_train=0,
            is_subm=int(conv.submanifold),
            fp32_accum=0,
            act_alpha=0.0,
            act_beta=0.0,
            output_scale=1.0,
            output_add_scale=0.0,
            act_type=0,
        )
        self.indices, self.cells = indices, conv.output_cells(self.cells)
        output = output + conv.bias
        return output.relu() if conv.relu else output

    def _pairs(self, conv: SparseConv) -> list[Tensor]:
        return self.graph.ops(
            'GetIndicePairsImplicitGemm',
            self.indices,
            outputs=5,
            domain=DOMAIN,
            batch_size=1,
            spatial_shape=list(self.cells),
            algo=ALGORITHM,
            ksize=list(conv.kernel),
            stride=list(conv.stride),
            padding=list(conv.padding),
            dilation=[1, 1, 1],
            out_padding=[0, 0, 0],
            subm=int(conv.submanifold),
            transpose=0,
            is_train=0,
            do_sort=1,
        )

"""A sparse encoder for NVIDIA's libspconv (Lidar_AI_Solution): a container in ONNX's format.

libspconv reads layers from the file's nodes and runs them itself, in float16. Norms and the ReLU
behind each convolution are part of the convolution's node. Written from the weights, without
tracing and without a GPU. No GPU has run it; the tests run it with :mod:`deploy.reference`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from deploy.layers import ResidualBlock, SparseConv, stages_of

OUTPUT_BOUND = 200000  # sites for which libspconv reserves memory


def container(encoder: nn.Module, feature_scale: Sequence[float] | None = None) -> onnx.ModelProto:
    """The encoder's layers.

    Args:
        encoder: A ``BEVFusionSparseEncoder``.
        feature_scale: As in :func:`deploy.layers.stages_of`.

    Raises:
        ValueError: A weight is beyond float16.
    """
    writer = _Writer(tuple(encoder.sparse_shape))
    feature = '0'
    for stage in stages_of(encoder, feature_scale):
        for block in stage.blocks:
            feature = writer.run(block, feature)
    channels, (size_x, size_y, size_z) = encoder.output_channels, writer.cells
    grid, shape = [size_x, size_y, size_z], [1, channels * size_z, size_x, size_y]
    writer.node(
        'ScatterDense',
        [feature],
        'dense',
        input_spatial_shape=grid,
        format='xyz',
        output_shape=[1, channels, *grid],
    )
    writer.node('Transpose', ['dense'], 'permuted', dims=[0, 1, 4, 2, 3])
    writer.node('Reshape', ['permuted'], 'bev', dims=shape)
    graph = helper.make_graph(
        writer.nodes,
        'scn',
        [helper.make_tensor_value_info('0', TensorProto.FLOAT16, ['M', encoder.in_channels])],
        [helper.make_tensor_value_info('bev', TensorProto.FLOAT16, shape)],
        writer.weights,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid('ai.onnx', 11)], ir_version=8
    )


class _Writer:
    """Nodes in the order in which they run."""

    def __init__(self, cells: tuple[int, int, int]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.cells = cells

    def run(self, block: SparseConv | ResidualBlock, feature: str) -> str:
        if not isinstance(block, ResidualBlock):
            return self._convolution(block, feature)
        inner = self._convolution(block.second, self._convolution(block.first, feature))
        name = block.second.name
        total = self.node(
            'Add', [inner, feature], f'{name}.add', precision='fp16', output_precision='fp16'
        )
        return self.node('Relu', [total], f'{name}.relu')

    def node(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _convolution(self, conv: SparseConv, feature: str) -> str:
        names = [self._weight(conv, 'weight'), self._weight(conv, 'bias')]
        cells, self.cells = self.cells, conv.output_cells(self.cells)
        return self.node(
            'SparseConvolution',
            [feature, *names],
            conv.name,
            ndim=3,
            input_spatial_shape=list(cells),
            output_spatial_shape=list(self.cells),
            in_channels=conv.weight.shape[-1],
            out_channels=conv.weight.shape[0],
            kernel_size=list(conv.kernel),
            output_bound=OUTPUT_BOUND,
            stride=list(conv.stride),
            dilation=[1, 1, 1],
            padding=list(conv.padding),
            transposed=0,
            inverse=0,
            output_padding=[0, 0, 0],
            groups=1,
            subm=int(conv.submanifold),
            rulebook=conv.rulebook,
            activation='ReLU' if conv.relu else 'None',
            precision='fp16',
            output_precision='fp16',
        )

    def _weight(self, conv: SparseConv, part: str) -> str:
        name, values = f'{conv.name}.{part}', getattr(conv, part)
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise ValueError(
                f'{name} has values beyond float16 (65504); libspconv cannot hold them'
            )
        self.weights.append(numpy_helper.from_array(values.astype(np.float16), name))
        return name

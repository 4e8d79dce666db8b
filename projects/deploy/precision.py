"""Dense parts of lower precision: INT8 by static quantisation, and float16."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from deploy.dense import only_standard

Inputs = dict[str, np.ndarray]


def quantised(model: onnx.ModelProto, calibration: Sequence[Inputs]) -> onnx.ModelProto:
    """A dense part whose 2D convolutions compute in 8 bits, but for those of the heatmap.

    Weights are quantised per channel, activations by the smallest and largest value that the
    calibration shows. The convolutions that make the heatmap, whose peaks are compared with each
    other, stay in float32, and so does everything that is no convolution.

    Args:
        model: A float32 dense part.
        calibration: Inputs by name, one dict a frame.

    Raises:
        ValueError: There is nothing to calibrate with, or no convolution to quantise.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    if not calibration:
        raise ValueError('INT8 needs frames to calibrate with; give --int8 a number above 0')
    nodes = [node.name for node in _plane_convolutions(model) if not _makes_heatmap(node)]
    if not nodes:
        raise ValueError('the dense part has no 2D convolution to quantise')

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._frames = iter(calibration)

        def get_next(self) -> Inputs | None:
            return next(self._frames, None)

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, 'float.onnx'), Path(folder, 'int8.onnx')
        onnx.save(model, source)
        quantize_static(
            str(source),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=['Conv'],
            nodes_to_quantize=nodes,
        )
        return only_standard(onnx.load(target))


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """A dense part in float16, but for what compares and what places.

    Modules with weights compute in float16. What the head does between its modules stays in
    float32: the peak test asks whether a score equals the largest around it, which is never so
    when one of the two was rounded in between, and a place among hundreds of cells has no decimals
    left in 16 bits.

    Args:
        model: A float32 dense part; its inputs and outputs stay float32.
    """
    from onnxruntime.transformers.float16 import (
        DEFAULT_OP_BLOCK_LIST,
        convert_float_to_float16,
    )
    from onnxruntime.transformers.onnx_model import OnnxModel

    kept = [node.name for node in model.graph.node if not _may_be_halved(node)]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    half = convert_float_to_float16(
        copy, keep_io_types=True, op_block_list=DEFAULT_OP_BLOCK_LIST, node_block_list=kept
    )
    OnnxModel(half).topological_sort()  # the converter puts its casts last
    return only_standard(half)


def _plane_convolutions(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for node in model.graph.node:
        shapes = [list(a.ints) for a in node.attribute if a.name == 'kernel_shape']
        if node.op_type == 'Conv' and len(shapes[0]) == 2:
            yield node


def _makes_heatmap(node: onnx.NodeProto) -> bool:
    """Whether a convolution is one of those behind which the classes' scores stand."""
    weight = node.input[1]
    return any(part in weight for part in ('.heatmap', '.conv_cls.'))


def _may_be_halved(node: onnx.NodeProto) -> bool:
    """Whether torch's exporter says that a module within the part wrote a node."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    scopes = ast.literal_eval(notes.get('pkg.torch.onnx.name_scopes', '[]'))
    return any(scope.startswith('module.') for scope in scopes)

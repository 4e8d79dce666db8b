"""INT8 and float16 dense parts."""

import onnx
import pytest

from deploy import bevfusion
from deploy.precision import halved, quantised
from tests.deploy.conftest import found


@pytest.fixture(scope='module')
def maps(student, clouds):
    """The encoder's map of each cloud."""
    return [bevfusion.torch_layers(student.model, cloud)[bevfusion.ENCODER] for cloud in clouds]


def test_int8_convolutions_find_the_same_boxes_and_the_heatmap_stays_float(parts, maps):
    dense, _ = parts[1]
    model = quantised(dense, [{'bev': bev} for bev in maps])
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} == {''}
    producer = {output: node for node in model.graph.node for output in node.output}
    scales = {}
    for node in model.graph.node:
        if node.op_type == 'Conv':
            source = producer.get(node.input[1])
            is_int8 = source is not None and source.op_type == 'DequantizeLinear'
            scales[node.input[1]] = is_int8
            if is_int8:
                shapes = {i.name: i.dims for i in model.graph.initializer}
                assert len(shapes[source.input[1]]) == 1  # a scale for each channel
    assert sum(scales.values()) == 10
    assert not any(is_int8 for name, is_int8 in scales.items() if 'heatmap' in name)
    assert model.ByteSize() < dense.ByteSize()
    assert found(model, dense, maps) >= 0.8  # of random weights; a trained one's: test_evaluate


def test_int8_without_frames_is_refused(parts):
    with pytest.raises(ValueError, match='frames to calibrate'):
        quantised(parts[1][0], [])


def test_float16_keeps_the_boxes_that_the_plain_converter_loses(parts, maps):
    from onnxruntime.transformers.float16 import convert_float_to_float16

    dense, _ = parts[1]
    plain = onnx.ModelProto()
    plain.CopyFrom(dense)
    plain = convert_float_to_float16(plain, keep_io_types=True)
    assert found(plain, dense, maps) < 0.2
    half = halved(dense)
    onnx.checker.check_model(half)
    assert half.ByteSize() < 0.7 * dense.ByteSize()
    assert found(half, dense, maps) >= 0.98

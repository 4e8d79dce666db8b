"""Graphs for Autoware's plugins and for libspconv, run by numpy stand-ins against spconv."""

import numpy as np
import onnx
import pytest
import yaml
from onnx import helper

from deploy import autoware, custom_check, libspconv
from deploy.export import export


def container(detector):
    scale = detector.pts_voxel_layer.feature_scale
    return libspconv.container(detector.pts_middle_encoder, scale)


def attributes(model, kind):
    nodes = [node for node in model.graph.node if node.op_type == kind]
    return [{a.name: helper.get_attribute_value(a) for a in node.attribute} for node in nodes]


def test_autoware_graph_gives_the_map_of_spconv(student, clouds):
    model = autoware.sparse_part(student.model)
    result = custom_check.check_autoware(model, student.model, clouds[:2])
    assert result['layers']['pts_middle_encoder'] < 1e-4


def test_autoware_nodes_have_the_attributes_that_the_plugins_read(student):
    model = autoware.sparse_part(student.model)
    pairs = attributes(model, 'GetIndicePairsImplicitGemm')
    assert len(pairs) == 6  # three stages, two strided convolutions, the last one
    assert set(pairs[0]) == {
        *('batch_size', 'spatial_shape', 'algo', 'ksize', 'stride', 'padding', 'dilation'),
        *('out_padding', 'subm', 'transpose', 'is_train', 'do_sort'),
    }
    assert pairs[0]['spatial_shape'] == [256, 256, 21] and pairs[0]['subm'] == 1
    assert pairs[1]['stride'] == [2, 2, 2] and pairs[1]['subm'] == 0
    gemms = attributes(model, 'ImplicitGemm')
    assert len(gemms) == 10
    assert set(gemms[0]) == {
        *('is_train', 'is_subm', 'fp32_accum', 'act_alpha', 'act_beta', 'output_scale'),
        *('output_add_scale', 'act_type'),
    }
    for node in model.graph.node:
        if node.op_type == 'ImplicitGemm':
            assert node.domain == 'autoware' and len(node.input) == 5


def test_libspconv_container_gives_the_map_of_spconv_in_float16(student, clouds):
    model = container(student.model)
    result = custom_check.check_libspconv(model, student.model, clouds[:2])
    assert result['cosine'] > 0.9999


def test_libspconv_nodes_are_those_of_its_parser(student):
    model = container(student.model)
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {'SparseConvolution', 'Add', 'Relu', 'ScatterDense', 'Transpose', 'Reshape'}
    first = attributes(model, 'SparseConvolution')[0]
    assert set(first) == {
        *('ndim', 'input_spatial_shape', 'output_spatial_shape', 'in_channels', 'out_channels'),
        *('kernel_size', 'output_bound', 'stride', 'dilation', 'padding', 'transposed', 'inverse'),
        *('output_padding', 'groups', 'subm', 'rulebook', 'activation', 'precision'),
        'output_precision',
    }
    assert first['activation'] == b'ReLU' and first['rulebook'] == b'subm1'
    assert {w.data_type for w in model.graph.initializer} == {onnx.TensorProto.FLOAT16}
    scatter = attributes(model, 'ScatterDense')[0]
    assert set(scatter) == {'input_spatial_shape', 'format', 'output_shape'}


def test_weights_beyond_float16_are_refused(student):
    weight = student.model.pts_middle_encoder.conv_input[0].weight
    before = weight.detach().clone()
    try:
        weight.data.mul_(1e7)
        with pytest.raises(ValueError, match='conv_input.0.weight has values beyond float16'):
            container(student.model)
    finally:
        weight.data.copy_(before)


def test_autoware_gets_no_points_or_boxes_that_its_node_does_not_know(student, monkeypatch):
    with pytest.raises(
        ValueError, match=r'is x, y, z, intensity; the node gives \(x, y, z, time_l'
    ):
        autoware.package_yaml(student.model, student.classes, ['x', 'y', 'z', 'intensity'])
    monkeypatch.setattr(student.model.bbox_head.bbox_coder, 'height_of', 'top')
    with pytest.raises(ValueError, match="those of boxes' tops; the node reads those of centres"):
        autoware.package_yaml(student.model, student.classes, ['x', 'y', 'z', 'time_lag'])
    monkeypatch.setattr(student.model.bbox_head.bbox_coder, 'code_size', 8)
    with pytest.raises(ValueError, match='have 8 numbers; the node reads 10'):
        autoware.package_yaml(student.model, student.classes, ['x', 'y', 'z', 'time_lag'])


def test_autoware_export_writes_one_graph_and_its_parameters(student, clouds, tmp_path):
    meta = export(student, tmp_path / 'out', form='autoware', check=clouds[:1])
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    package = 'ml_package_bevfusion_lidar.param.yaml'
    assert names == {'bevfusion_lidar.onnx', package, 'meta.json'}
    assert meta['check']['run_by'] == 'numpy, no GPU'
    model = onnx.load(tmp_path / 'out' / 'bevfusion_lidar.onnx')
    assert [i.name for i in model.graph.input] == ['voxels', 'coors', 'num_points_per_voxel']
    assert [o.name for o in model.graph.output] == ['bbox_pred', 'score', 'label_pred']
    shapes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output]
    assert shapes == [[10, 80], [80], [80]]
    parameters = yaml.safe_load((tmp_path / 'out' / package).read_text())['/**']['ros__parameters']
    assert parameters['point_cloud_range'] == [-25.6, -25.6, -5.0, 25.6, 25.6, 3.0]
    assert parameters['voxels_num'] == [1, 20000, 40000]
    assert parameters['num_proposals'] == 80 and parameters['out_size_factor'] == 4
    assert parameters['class_names'][0] == 'CAR' and parameters['use_intensity'] is True
    np.testing.assert_allclose(parameters['voxel_size'], [0.2, 0.2, 0.4])

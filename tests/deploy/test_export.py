"""The whole detector as one file, its check, and what is refused."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
import torch

from deploy import bevfusion
from deploy.check import ExportDisagrees, check_export, match_boxes, predict
from deploy.detector import Detector
from deploy.export import export


def test_one_file_of_standard_operators_does_what_torch_does(exported):
    folder, meta = exported
    assert meta['files'] == ['model.onnx']
    model = onnx.load(folder / 'model.onnx')
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {''}
    assert [entry.domain for entry in model.opset_import] == ['']
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == 'N'
    check = meta['check']
    assert check['frames'] == 3 and check['cells'] == 'equal'
    assert check['boxes'] == 3 * 80
    assert check['layers'][bevfusion.ENCODER] < 1e-4
    assert check['box_error'] < 1e-3 and check['score_error'] < 1e-5


def test_meta_says_what_a_port_needs_to_know(exported, student):
    meta = json.loads((exported[0] / 'meta.json').read_text())
    assert meta['classes'][0] == 'car' and len(meta['classes']) == 10
    assert meta['point_columns'] == ['x', 'y', 'z', 'intensity', 'time_lag']
    assert meta['point_cloud_range'] == [-25.6, -25.6, -5.0, 25.6, 25.6, 3.0]
    assert meta['voxel_size'] == [0.2, 0.2, 0.4] and meta['grid_size'] == [256, 256, 20]
    assert meta['max_voxels'] == 40000 and meta['max_points_per_voxel'] == 10
    assert meta['boxes']['columns'][-1] == 'velocity_y' and 'bottom' in meta['boxes']['z']
    assert meta['checkpoint']['sha256'] == student.sha256
    assert meta['versions']['torch'] == torch.__version__


@pytest.mark.parametrize(
    'points',
    [
        np.zeros((0, 5)),
        np.array([[1, 2, 0, 10, 0]]),
        np.full((50, 5), 1e4) * [1, 1, 1, 1, 0],
        np.full((50, 5), np.nan),
        np.full((50, 5), -np.inf),
    ],
    ids=['empty', 'one point', 'all outside', 'NaN', 'infinite'],
)
def test_odd_clouds_run(exported, student, points):
    points = points.astype(np.float32)
    detector = Detector(exported[0])
    boxes, scores, labels = detector(points)
    wanted = predict(student.model, points)
    assert boxes.shape == wanted[0].shape and np.isfinite(boxes).all()
    assert len(scores) == len(labels) == len(boxes)
    graph = detector.run(detector.check(points))
    assert abs(graph['scores'].max() - wanted[1].max()) < 0.02  # equal peaks: any of them is right


def test_points_outside_change_nothing(exported, clouds):
    detector = Detector(exported[0])
    outside = np.concatenate([clouds[0], np.full((9, 5), np.nan, np.float32)])
    for got, wanted in zip(detector(outside), detector(clouds[0]), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_ring_is_no_age_of_a_point(exported, clouds):
    rings = clouds[0].copy()
    rings[:, 4] = np.arange(len(rings)) % 32
    with pytest.raises(ValueError, match='time_lag goes up to 31.*has its ring there.*--sweep'):
        Detector(exported[0])(rings)


@pytest.mark.parametrize('shape', [(10, 4), (10, 6), (5,)])
def test_other_columns_are_refused_by_name(exported, shape):
    with pytest.raises(ValueError, match='x, y, z, intensity, time_lag'):
        Detector(exported[0])(np.zeros(shape, np.float32))


def test_a_score_threshold_is_applied_by_the_runtime(exported, clouds):
    detector = Detector(exported[0])
    _, scores, _ = detector(clouds[0])
    limit = float(np.median(scores))
    _, fewer, _ = detector(clouds[0], score_threshold=limit)
    np.testing.assert_array_equal(fewer, scores[scores > np.float32(limit)])


def test_a_difference_is_found_in_the_layer_where_it_begins(exported, student, parts, clouds):
    (_, sparse_layers), (_, dense_layers) = parts
    layers = {**sparse_layers, **dense_layers}
    for name in ('pts_middle_encoder.encoder_layers.encoder_layer2', 'pts_neck[0]'):
        module = student.model.get_submodule(name.partition('[')[0])
        weight = next(module.parameters())
        before = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(1.02)
        try:
            with pytest.raises(ExportDisagrees) as caught:
                check_export(exported[0], layers, student.model, bevfusion, clouds[:1])
        finally:
            weight.data.copy_(before)
        assert caught.value.layer == name


def test_an_export_that_disagrees_leaves_nothing_behind(student, clouds, tmp_path):
    hook = student.model.pts_middle_encoder.register_forward_hook(lambda *args: args[-1] + 0.01)
    try:
        with pytest.raises(ExportDisagrees, match='first in pts_middle_encoder:'):
            export(student, tmp_path / 'out', check=clouds[:1])
    finally:
        hook.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('meta', [None, 'no json', {'my': 'data set'}, {'files': ['model.onnx']}])
def test_a_folder_of_other_things_is_left_alone(student, tmp_path, meta):
    (tmp_path / 'thesis.tex').write_text('...')
    if meta is not None:
        (tmp_path / 'meta.json').write_text(meta if isinstance(meta, str) else json.dumps(meta))
    with pytest.raises(FileExistsError, match='holds .*thesis.tex, no part of an earlier export'):
        export(student, tmp_path)
    assert (tmp_path / 'thesis.tex').exists()


def test_what_cannot_be_exported_is_refused_before_any_work(student, tmp_path):
    with pytest.raises(ValueError, match='known are onnx, split'):
        export(student, tmp_path / 'out', form='tflite')
    with pytest.raises(ValueError, match='leave --int8'):
        export(student, tmp_path / 'out', form='autoware', precision='int8')
    camera = dataclasses.replace(student, model=torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match='Linear'):
        export(camera, tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match='no finished export'):
        Detector(tmp_path)


def test_sets_of_boxes_are_compared_whatever_their_order():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(-5, 5, (6, 9)).astype(np.float32)
    scores, labels = rng.uniform(size=6).astype(np.float32), np.arange(6)
    order = rng.permutation(6)
    turned = boxes.copy()
    turned[:, 6] += 2 * np.pi
    match = match_boxes(
        (boxes, scores, labels), (turned[order], scores[order], labels[order]), 1e-3, 1e-5
    )
    assert len(match.pairs) == 6 and match.box_error < 1e-5
    other = labels[order].copy()
    other[0] = 9
    assert (
        len(
            match_boxes(
                (boxes, scores, labels), (turned[order], scores[order], other), 1e-3, 1e-5
            ).pairs
        )
        == 5
    )

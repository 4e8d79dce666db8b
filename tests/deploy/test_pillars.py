"""Pillar detectors: maps from the graph, boxes from the runtime."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.registry import DefaultScope
from onnx import TensorProto

from bevfusion.voxelize import Voxelization
from deploy import pillars
from deploy.check import match_boxes, predict
from deploy.detector import DECODERS, Detector, circle_nms, intersections, rotated_nms
from deploy.graph import Graph
from deploy.pillar_net import pillar_map
from deploy.voxeliser import VoxelGrid, voxelise


def decoded(detector, maps):
    options = pillars.decoding(detector)
    return DECODERS[options.pop('type')](maps, **options)


def test_maps_are_those_of_torch(pillar_export):
    _, folder, meta = pillar_export
    model = onnx.load(folder / 'model.onnx')
    assert {node.domain for node in model.graph.node} == {''}
    assert meta['check']['frames'] == 3 and meta['check']['boxes'] > 0
    layers = meta['check']['layers']
    assert len(layers) > 5
    assert max(layers.values()) < 2e-5
    heads = [error for name, error in layers.items() if name[0].isdigit() or name == 'deltas']
    assert heads and max(heads) < 1e-5


@pytest.mark.parametrize(
    'options',
    [
        dict(legacy=False),
        dict(legacy=True),
        dict(legacy=True, with_distance=True),
        dict(legacy=False, with_distance=True, with_cluster_center=False),
        dict(legacy=True, with_voxel_center=False, feat_channels=(8, 6)),
        dict(legacy=False, mode='avg', feat_channels=(8, 6)),
    ],
)
def test_pillars_are_those_of_mmdet3d(options):
    from mmdet3d.models import PillarFeatureNet, PointPillarsScatter

    torch.manual_seed(0)
    edges = (-4, -3, -1), (1, 1, 2), (8, 6, 1)
    high = [low + size * n for low, size, n in zip(*edges, strict=True)]
    options = {'feat_channels': (6,), **options}
    net = PillarFeatureNet(
        5, voxel_size=edges[1], point_cloud_range=[*edges[0], *high], **options
    ).eval()
    for layer in net.pfn_layers:  # with a bias, so that unused slots show
        torch.nn.init.uniform_(layer.norm.bias, -1, 1)
        torch.nn.init.uniform_(layer.norm.running_var, 0.5, 2)
    points = np.random.default_rng(0).uniform(-4, 4, (160, 5)).astype(np.float32)
    points[:, 2] /= 4
    graph, grid = Graph(), VoxelGrid(*edges, max_points=4, max_voxels=40, columns=5)
    cloud = graph.input('points', TensorProto.FLOAT, ['N', 5])
    bev = pillar_map(graph, net, cloud, voxelise(graph, cloud, grid), grid)
    graph.output('bev', bev, [1, 6, 6, 8])
    session = onnxruntime.InferenceSession(graph.build('test').SerializeToString())
    got = session.run(None, {'points': points})[0]

    voxeliser = Voxelization(edges[1], [*edges[0], *high], 4, 40).eval()
    voxels, cells, counts = voxeliser(torch.from_numpy(points))
    assert counts.min() < 4 and (counts == 4).any()
    coors = torch.nn.functional.pad(cells.flip(1), (1, 0))
    scatter = PointPillarsScatter(6, (6, 8))
    with torch.no_grad():
        wanted = scatter(net(voxels.clone(), counts, coors), coors, 1)
    np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)
    assert np.abs(got).max() > 0.1


def test_boxes_are_those_of_mmdet3d(pillar_export, clouds):
    detector, folder, _ = pillar_export
    for cloud in clouds:
        wanted = predict(detector.model, cloud)
        got = decoded(detector.model, pillars.torch_layers(detector.model, cloud))
        match = match_boxes(wanted, got, 1e-4, 1e-6)
        assert len(match.pairs) == len(wanted[0]) == len(got[0]) > 20
        np.testing.assert_array_equal(match.pairs[:, 0], match.pairs[:, 1])  # in their order
    assert len(Detector(folder)(clouds[0])[0]) > 20


@pytest.mark.parametrize('points', [np.zeros((0, 5)), np.array([[1, 2, 0, 10, 0]])])
def test_clouds_without_pillars_run(pillar_export, points):
    boxes, scores, labels = Detector(pillar_export[1])(points)
    assert np.isfinite(boxes).all() and len(boxes) == len(scores) == len(labels)
    assert boxes.shape[1] == 9


def test_rotated_suppression_of_centers_is_that_of_mmdet3d(centerpoint, clouds):
    detector, _, _ = centerpoint
    head = detector.model.pts_bbox_head
    before = head.test_cfg['nms_type']
    head.test_cfg['nms_type'] = 'rotate'
    try:
        wanted = predict(detector.model, clouds[0])
        got = decoded(detector.model, pillars.torch_layers(detector.model, clouds[0]))
    finally:
        head.test_cfg['nms_type'] = before
    match = match_boxes(wanted, got, 1e-4, 1e-6)
    assert len(match.pairs) == len(wanted[0]) == len(got[0]) > 20


def test_detectors_that_name_their_parts_otherwise_are_read_as_well(pointpillars, clouds):
    detector, _, meta = pointpillars
    cfg = copy.deepcopy(detector.cfg.model)
    parts = {name.removeprefix('pts_'): cfg[name] for name in cfg if name.startswith('pts_')}
    settings = {name: cfg[name]['pts'] for name in ('train_cfg', 'test_cfg')}
    cfg = dict(type='VoxelNet', data_preprocessor=cfg['data_preprocessor'], **parts, **settings)
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        voxelnet = MODELS.build(cfg).eval()
    weights = detector.model.state_dict()
    voxelnet.load_state_dict({name.removeprefix('pts_'): w for name, w in weights.items()})
    assert pillars.decoding(voxelnet) == meta['decoding']
    wanted = predict(voxelnet, clouds[1])
    got = decoded(voxelnet, pillars.torch_layers(voxelnet, clouds[1]))
    assert len(match_boxes(wanted, got, 1e-4, 1e-6).pairs) == len(wanted[0]) > 20


def test_anchor_heads_that_the_runtime_does_not_decode_are_refused(pointpillars):
    head = pointpillars[0].model.pts_bbox_head
    head.use_direction_classifier = False
    try:
        with pytest.raises(ValueError, match='use_direction_classifier is True'):
            pillars.decoding(pointpillars[0].model)
    finally:
        head.use_direction_classifier = True


def test_another_head_is_refused_by_name():
    class Other(torch.nn.Module):
        pass

    with pytest.raises(ValueError, match='Other without voxel_encoder'):
        pillars.PillarPart(Other())


def random_boxes(number, seed):
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(-4, 4, (number, 5))
    boxes[:, 2:4] = rng.uniform(0.3, 5, (number, 2))
    return boxes


def test_shared_areas_are_those_of_mmcv():
    from mmcv.ops import box_iou_rotated

    boxes = random_boxes(60, 0)
    boxes[30:] = boxes[:30]  # the same again, moved along a side, and turned by a right angle
    boxes[40:50, 0] += 0.5
    boxes[50:, 4] += np.pi / 2
    areas = boxes[:, 2] * boxes[:, 3]
    shared = np.stack([intersections(box, boxes) for box in boxes])
    overlap = shared / (areas[:, None] + areas[None] - shared)
    tensor = torch.from_numpy(boxes).float()
    np.testing.assert_allclose(overlap, box_iou_rotated(tensor, tensor).numpy(), atol=2e-5)


def test_suppression_is_that_of_mmdet3d():
    from mmdet3d.models.layers import nms_bev
    from mmdet3d.models.layers.box3d_nms import circle_nms as mmdet3d_circle_nms
    from mmdet3d.structures import xywhr2xyxyr

    flat = random_boxes(200, 1).astype(np.float32)
    scores = np.random.default_rng(2).uniform(size=200).astype(np.float32)
    boxes = np.zeros((200, 7), np.float32)
    boxes[:, [0, 1, 3, 4, 6]] = flat
    wanted = nms_bev(
        xywhr2xyxyr(torch.from_numpy(flat)), torch.from_numpy(scores), 0.2, 150, 40
    ).numpy()
    np.testing.assert_array_equal(rotated_nms(boxes, scores, 0.2, 150, 40), wanted)
    dets = np.concatenate([flat[:, :2], scores[:, None]], axis=1)
    wanted = mmdet3d_circle_nms(dets, 0.3, 83)
    np.testing.assert_array_equal(circle_nms(flat[:, :2], scores, 0.3, 83), wanted)

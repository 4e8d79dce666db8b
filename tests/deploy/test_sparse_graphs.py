"""Voxels, rulebooks and sparse encoders in standard operators, against plain loops and spconv."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from bevfusion.sparse_encoder import BEVFusionSparseEncoder
from bevfusion.voxelize import Voxelization
from deploy import bevfusion
from deploy.encoder import encode
from deploy.graph import Graph
from deploy.layers import stages_of
from deploy.sites import rulebook, sites_of_cells, strided_sites
from deploy.voxeliser import VoxelGrid, voxelise

EDGES = (-5, -5, -1), (0.5, 0.5, 0.25), (20, 20, 8)
GRID = VoxelGrid(*EDGES, max_points=3, max_voxels=100, columns=5)


def run(graph, **inputs):
    model = graph.build('test')
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def scattered_points(number, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-6, 6, (number, 5)).astype(np.float32)
    points[:, 2] /= 5
    return points


@pytest.mark.parametrize('number', [0, 1, 2, 60, 3000])
def test_voxels_are_those_of_the_torch_voxeliser(number):
    points = scattered_points(number)
    if number > 10:
        points[3, 0], points[5, 1], points[6] = np.nan, np.inf, 1e30
    graph = Graph()
    cloud = graph.input('points', TensorProto.FLOAT, ['N', 5])
    voxels = voxelise(graph, cloud, GRID)
    kept_points = cloud.take(voxels.rows)
    graph.output('slots', voxels.table(kept_points, 5), ['M', 3, 5])
    graph.output('means', voxels.means(kept_points, 5), ['M', 5])
    graph.output('cells', voxels.cells, ['M'], TensorProto.INT64)
    graph.output('counts', voxels.counts, ['M'], TensorProto.INT64)
    got = run(graph, points=points)

    high = [low + size * n for low, size, n in zip(*EDGES, strict=True)]
    torch_voxeliser = Voxelization(GRID.size_m, [*GRID.low_m, *high], 3, 100).eval()
    kept, cells, counts = (part.numpy() for part in torch_voxeliser(torch.from_numpy(points)))
    keys = (cells[:, 0].astype(np.int64) * 20 + cells[:, 1]) * 8 + cells[:, 2]
    order = keys.argsort()
    assert number < 3000 or len(order) == GRID.max_voxels  # the limit is tested too
    np.testing.assert_array_equal(got['cells'], keys[order])
    np.testing.assert_array_equal(got['counts'], counts[order])
    np.testing.assert_array_equal(got['slots'], kept[order])
    np.testing.assert_allclose(got['means'], kept[order].sum(1) / counts[order, None], rtol=1e-6)


@pytest.mark.parametrize('number', [0, 1, 40, 400])
@pytest.mark.parametrize(
    ('kernel', 'stride', 'padding'),
    [
        ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
        ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
        ((3, 3, 3), (2, 2, 2), (1, 1, 0)),
        ((1, 1, 3), (1, 1, 2), (0, 0, 0)),
    ],
)
def test_rulebooks_are_those_of_a_loop_over_sites_and_offsets(number, kernel, stride, padding):
    size = (9, 12, 7)
    rng = np.random.default_rng(number)
    cells = np.unique(rng.integers(0, np.prod(size), number)).astype(np.int64)
    target_size = tuple(
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True)
    )
    graph = Graph()
    source = sites_of_cells(graph, graph.input('cells', TensorProto.INT64, ['M']), size)
    target = source
    if stride != (1, 1, 1):
        target = strided_sites(source, target_size, kernel, stride, padding)
    table = rulebook(source, target, kernel, stride, padding)
    graph.output('sites', target.cells(), ['K'], TensorProto.INT64)
    graph.output('rulebook', table, ['K', int(np.prod(kernel))], TensorProto.INT32)
    got = run(graph, cells=cells)

    sites = np.stack(np.unravel_index(cells, size), axis=1).tolist()
    number_of_site = {tuple(site): place for place, site in enumerate(sites)}
    reached = {site: {} for site in number_of_site} if target is source else {}
    for site, place in number_of_site.items():
        for position, offset in enumerate(np.ndindex(kernel)):
            shifted = np.array(site) + padding - offset
            output = tuple(shifted // stride)
            inside = all(0 <= o < n for o, n in zip(output, target_size, strict=True))
            if (
                (shifted % stride == 0).all()
                and inside
                and (target is not source or output in reached)
            ):
                reached.setdefault(output, {})[position] = place
    expected = np.full((len(reached), int(np.prod(kernel))), len(cells))
    for row, output in enumerate(sorted(reached)):
        for position, place in reached[output].items():
            expected[row, position] = place
    keys = [int(np.ravel_multi_index(site, target_size)) for site in sorted(reached)]
    np.testing.assert_array_equal(got['sites'], keys)
    np.testing.assert_array_equal(got['rulebook'], expected)


def small_encoder(block_type='basicblock', **options):
    torch.manual_seed(0)
    paddings = {'basicblock': ((0, 1), (0, (1, 1, 0)), (0,)), 'conv_module': ((1,), (1, 1), (1, 1))}
    channels = {'basicblock': ((4, 8), (8, 8), (8,)), 'conv_module': ((4,), (8, 8), (8, 12))}
    encoder = BEVFusionSparseEncoder(
        in_channels=5,
        sparse_shape=[20, 24, 17],
        base_channels=4,
        output_channels=6,
        encoder_channels=channels[block_type],
        encoder_paddings=paddings[block_type],
        block_type=block_type,
        **options,
    ).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return encoder


@pytest.mark.parametrize('block_type', ['basicblock', 'conv_module'])
@pytest.mark.parametrize('number', [0, 1, 300])
def test_the_encoder_gives_the_map_of_spconv(block_type, number):
    encoder = small_encoder(block_type)
    size = tuple(encoder.sparse_shape)
    rng = np.random.default_rng(1)
    cells = np.sort(rng.choice(np.prod(size), number, replace=False)).astype(np.int64)
    features = rng.standard_normal((number, 5)).astype(np.float32)
    graph = Graph()
    bev = encode(
        graph,
        stages_of(encoder),
        graph.input('features', TensorProto.FLOAT, ['M', 5]),
        graph.input('cells', TensorProto.INT64, ['M']),
        size,
        'encoder',
    )
    graph.output('bev', bev, [1, *encoder.out_shape])
    got = run(graph, features=features, cells=cells)['bev']
    coors = np.stack([np.zeros(number), *np.unravel_index(cells, size)], axis=1)
    with torch.no_grad():
        wanted = encoder(torch.from_numpy(features), torch.from_numpy(coors).int(), 1).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert number < 300 or np.abs(wanted).max() > 0.1


def test_the_scale_of_the_features_is_folded_into_the_first_convolution():
    scale = [0.04, 0.04, 0.5, 0.02, 6.0]
    encoder = small_encoder()
    size = tuple(encoder.sparse_shape)
    rng = np.random.default_rng(1)
    cells = np.sort(rng.choice(np.prod(size), 200, replace=False)).astype(np.int64)
    features = (rng.standard_normal((200, 5)) / scale).astype(np.float32)
    graph = Graph()
    bev = encode(
        graph,
        stages_of(encoder, scale),
        graph.input('features', TensorProto.FLOAT, ['M', 5]),
        graph.input('cells', TensorProto.INT64, ['M']),
        size,
        'encoder',
    )
    graph.output('bev', bev, [1, *encoder.out_shape])
    got = run(graph, features=features, cells=cells)['bev']
    coors = np.stack([np.zeros(200), *np.unravel_index(cells, size)], axis=1)
    scaled = torch.from_numpy(features) * torch.tensor(scale)
    with torch.no_grad():
        wanted = encoder(scaled, torch.from_numpy(coors).int(), 1).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_norms_that_cannot_be_folded_are_refused_by_name():
    with pytest.raises(ValueError, match='order of the encoder'):
        stages_of(small_encoder(order=('conv', 'act', 'norm')))
    with pytest.raises(ValueError, match='GroupNorm'):
        stages_of(small_encoder(norm_cfg=dict(type='GN', num_groups=2)))
    with pytest.raises(ValueError, match='Linear'):
        stages_of(torch.nn.Linear(1, 1))


def test_more_voxels_than_the_limit_are_dropped_as_in_torch(student, clouds):
    layer = student.model.pts_voxel_layer
    limits, layer.max_voxels = layer.max_voxels, (700, 700)
    try:
        model, _ = bevfusion.sparse_part(student.model)
        wanted = bevfusion.torch_layers(student.model, clouds[0])
    finally:
        layer.max_voxels = limits
    assert len(wanted['cells']) == 700
    got = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {'points': clouds[0]})
    np.testing.assert_allclose(got[0], wanted[bevfusion.ENCODER], atol=1e-4)

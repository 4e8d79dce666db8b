import numpy as np
import pytest
import torch

from bevfusion import Voxelization

RANGE = [-2.0, -1.0, -1.0, 2.0, 1.0, 1.0]
SIZE = [0.5, 0.25, 0.5]


def naive(points, max_num_points, max_voxels):
    low, size = np.float32(RANGE[:3]), np.float32(SIZE)
    grid = np.round((np.float32(RANGE[3:]) - low) / size)
    voxels = {}
    for point in points.numpy():
        cell = np.floor((point[:3] - low) / size)
        if not ((cell >= 0) & (cell < grid)).all():
            continue
        key = tuple(cell.astype(int))
        if key not in voxels:
            if len(voxels) == max_voxels:
                continue
            voxels[key] = []
        if len(voxels[key]) < max_num_points:
            voxels[key].append(point)
    return voxels


def random_points(number=3000, seed=0):
    rng = np.random.RandomState(seed)
    points = rng.uniform(-2.3, 2.3, (number, 5)).astype(np.float32)
    points[::7, :3] = np.round(points[::7, :3] * 4) / 4  # on faces of cells and of the range
    return torch.from_numpy(points)


@pytest.mark.parametrize(('max_num_points', 'max_voxels'), [(10, 1000), (2, 1000), (3, 40)])
def test_same_voxels_in_same_order_as_the_plain_loop(max_num_points, max_voxels):
    points = random_points()
    expected = naive(points, max_num_points, max_voxels)
    voxels, cells, counts = Voxelization(SIZE, RANGE, max_num_points, max_voxels)(points)
    assert [tuple(cell) for cell in cells.tolist()] == list(expected)
    assert counts.tolist() == [len(kept) for kept in expected.values()]
    for voxel, count, kept in zip(voxels, counts.tolist(), expected.values(), strict=True):
        assert np.array_equal(voxel[:count].numpy(), np.stack(kept))
        assert not voxel[count:].any()


def test_lower_face_is_inside_and_upper_face_outside():
    points = torch.tensor([[-2.0, -1.0, -1.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    _, cells, _ = Voxelization(SIZE, RANGE, 10)(points)
    assert cells.tolist() == [[0, 0, 0]]


def test_points_that_are_not_finite_belong_to_no_voxel():
    points = torch.zeros(4, 5)
    points[1, 0], points[2, 1], points[3, 2] = float('nan'), float('inf'), -float('inf')
    _, cells, counts = Voxelization(SIZE, RANGE, 10)(points)
    assert len(cells) == 1
    assert counts.tolist() == [1]


@pytest.mark.parametrize('points', [torch.zeros(0, 5), torch.full((3, 5), 99.0)])
def test_cloud_without_a_point_in_range_gives_no_voxels(points):
    voxels, cells, counts = Voxelization(SIZE, RANGE, 10)(points)
    assert voxels.shape == (0, 10, 5)
    assert cells.shape == (0, 3)
    assert counts.shape == (0,)


def test_training_and_evaluation_have_their_own_limit():
    layer = Voxelization(SIZE, RANGE, 10, [5, 9])
    assert len(layer.train()(random_points())[1]) == 5
    assert len(layer.eval()(random_points())[1]) == 9


def test_features_are_the_mean_of_the_points_times_the_scale_of_their_column():
    scale = [0.5, 0.5, 1.0, 0.01, 6.0]
    points = random_points()
    plain, scaled = (Voxelization(SIZE, RANGE, 3, 40, feature_scale=s) for s in (None, scale))
    voxels, _, counts = plain(points)
    expected = np.stack([v[:n].mean(0) for v, n in zip(voxels.numpy(), counts, strict=True)])
    np.testing.assert_allclose(plain.reduce(voxels, counts), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        scaled.reduce(voxels, counts), expected * np.float32(scale), rtol=1e-5, atol=1e-6
    )
    assert not scaled.state_dict()


def test_a_scale_for_other_columns_is_refused():
    layer = Voxelization(SIZE, RANGE, 3, feature_scale=[1.0, 1.0, 1.0])
    voxels, _, counts = layer(random_points())
    with pytest.raises(ValueError, match='3 factors, the points have 5 columns'):
        layer.reduce(voxels, counts)


@pytest.mark.parametrize(
    'change',
    [
        dict(feature_scale=[1.0, 1.0, 1.0, 0.0, 1.0]),
        dict(max_num_points=-1),
        dict(max_voxels=[1, 2, 3]),
        dict(max_voxels=0),
        dict(voxel_size=[0.1, 0.1]),
        dict(voxel_size=[0.1, 0.1, 0.0]),
        dict(point_cloud_range=[2.0, -1, -1, -2.0, 1, 1]),
    ],
)
def test_impossible_settings_are_refused(change):
    settings = dict(voxel_size=SIZE, point_cloud_range=RANGE, max_num_points=10, max_voxels=100)
    with pytest.raises(ValueError, match=r'voxel|range|scale'):
        Voxelization(**{**settings, **change})


@pytest.mark.gpu
def test_cuda_gives_the_same_voxels():
    layer, points = Voxelization(SIZE, RANGE, 3, 40), random_points()
    on_cpu = layer(points)
    on_cuda = layer.cuda()(points.cuda())
    for ours, theirs in zip(on_cpu, on_cuda, strict=True):
        assert torch.equal(ours, theirs.cpu())

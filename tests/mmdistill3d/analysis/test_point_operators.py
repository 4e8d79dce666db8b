"""Operators in torch do what mmcv's CUDA kernels do, one point after the other."""

import mmcv.ops
import pytest
import torch
from mmcv.ops import RoIAwarePool3d, RoIPointPool3d

from mmdistill3d.analysis import point_operators as ours


@pytest.fixture
def cloud():
    torch.manual_seed(0)
    return torch.rand(2, 40, 3)


def test_the_furthest_point_is_taken_each_time(cloud):
    found = ours.furthest_point_sample(cloud, 10)
    for points, indices in zip(cloud, found.tolist(), strict=True):
        chosen = [0]
        while len(chosen) < 10:
            chosen.append(max(range(40), key=lambda i: min(
                float((points[i] - points[j]).square().sum()) for j in chosen
            )))  # fmt: skip
        assert indices == chosen
    squares = (cloud[:, :, None] - cloud[:, None]).square().sum(-1)
    assert torch.equal(ours.furthest_point_sample_with_dist(squares, 10), found)


def test_a_ball_holds_its_first_points_and_the_first_again(cloud):
    centers = cloud[:, :5]
    found = ours.ball_query(0.0, 0.35, 6, cloud, centers)
    for points, near, indices in zip(cloud, centers, found.tolist(), strict=True):
        for center, row in zip(near, indices, strict=True):
            inside = [i for i in range(40) if (points[i] - center).square().sum() < 0.35**2][:6]
            assert row == inside + inside[:1] * (6 - len(inside))
    counts = torch.tensor([40, 40], dtype=torch.int)
    far = torch.cat([centers.flatten(0, 1), torch.full((1, 3), 9.0)])
    of_cloud = torch.tensor([5, 6], dtype=torch.int)
    stacked = ours.ball_query(0.0, 0.35, 6, cloud.flatten(0, 1), far, counts, of_cloud)
    assert torch.equal(stacked[:10], found.flatten(0, 1)) and stacked[10, 0] == -1


def test_cells_hold_the_mean_of_their_points():
    features, cells = torch.arange(8.0).view(4, 2), torch.tensor([[1, 0], [-1, 0], [0, 2], [1, 0]])
    values, found = ours.dynamic_scatter(features, cells, 'mean')
    assert found.tolist() == [[0, 2], [1, 0]]
    assert values.tolist() == [[4.0, 5.0], [3.0, 4.0]]


def test_boxes_pool_the_points_in_them():
    points = torch.tensor([[0.9, 0.1, 0.5], [5.0, 5, 5], [-0.9, 0.1, 0.5], [0.8, -0.2, 0.4]])
    features = torch.tensor([[1.0], [2.0], [3.0], [5.0]])
    boxes = torch.tensor([[0.0, 0, 0, 2, 1, 1, 0], [20, 0, 0, 1, 1, 1, 0]])
    with ours.torch_operators():
        pooled, empty = RoIPointPool3d(5)(points[None], features[None], boxes[None])
        halves = RoIAwarePool3d((2, 1, 1), 8, 'max')(boxes[:1], points, features)
        turned = boxes[:1] * torch.tensor([1.0, 1, 1, 1, 1, 1, 0]) + torch.tensor(
            [0.0] * 6 + [torch.pi]
        )
        other = RoIAwarePool3d((2, 1, 1), 8, 'avg')(turned, points, features)
    assert pooled[0, 0, :, 3].tolist() == [1.0, 3.0, 5.0, 1.0, 3.0] and empty.tolist() == [[0, 1]]
    assert halves.flatten().tolist() == [3.0, 5.0]
    assert other.flatten().tolist() == [3.0, 3.0]


def test_they_are_in_place_inside_the_block_alone(cloud):
    before = mmcv.ops.group_points.ball_query
    with ours.torch_operators():
        assert mmcv.ops.group_points.ball_query is ours.ball_query
    assert mmcv.ops.group_points.ball_query is before

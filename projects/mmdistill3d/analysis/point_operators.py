"""Operators on points of mmcv that need CUDA, in plain torch, so that detectors on points run here.

They are for checks on machines without a GPU: right, differentiable and slow. Each takes what
mmcv's own takes and says what it says there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import mmcv.ops
import torch
from mmdet3d.models.data_preprocessors import voxelize
from torch import Tensor


@contextmanager
def torch_operators() -> Iterator[None]:
    """Let mmcv and MMDetection3D use these operators inside the block."""
    replaced: list[tuple[Any, str, Any]] = []
    originals = {id(getattr(mmcv.ops, name)): new for name, new in OPERATORS.items()}
    originals.update(
        {
            id(mmcv.ops.scatter_points.dynamic_scatter): dynamic_scatter,
            id(voxelize.dynamic_scatter_3d): dynamic_scatter_3d,
            # Autograd functions, of which their modules call `apply`.
            id(mmcv.ops.roiaware_pool3d.RoIAwarePool3dFunction): SimpleNamespace(
                apply=roiaware_pool3d
            ),
            id(mmcv.ops.roipoint_pool3d.RoIPointPool3dFunction): SimpleNamespace(
                apply=roipoint_pool3d
            ),
        }
    )
    try:
        for module in list(sys.modules.values()):
            if not getattr(module, '__name__', '').startswith(('mmcv.ops', 'mmdet')):
                continue
            for name, value in list(vars(module).items()):
                if id(value) in originals:
                    replaced.append((module, name, value))
                    setattr(module, name, originals[id(value)])
        yield
    finally:
        for module, name, value in replaced:
            setattr(module, name, value)


def furthest_point_sample(points_xyz: Tensor, num_points: int) -> Tensor:
    """Indices ``(B, M)`` of points ``(B, N, 3)``, each the furthest from those before it."""
    return _furthest(
        lambda last: (points_xyz - _take(points_xyz, last)).square().sum(-1),
        points_xyz[..., 0],
        num_points,
    )


def furthest_point_sample_with_dist(points_dist: Tensor, num_points: int) -> Tensor:
    """The same by given distances ``(B, N, N)``."""
    return _furthest(lambda last: _take(points_dist, last)[:, 0], points_dist[..., 0], num_points)


def ball_query(
    min_radius: float,
    max_radius: float,
    sample_num: int,
    xyz: Tensor,
    center_xyz: Tensor,
    xyz_batch_cnt: Tensor | None = None,
    center_xyz_batch_cnt: Tensor | None = None,
) -> Tensor:
    """The first ``sample_num`` points within a ball, ``(B, M, S)``; the first again for the rest.

    Of stacked clouds, whose sizes the last arguments give, indices count within each cloud and
    begin with -1 where a ball is empty.
    """
    if xyz_batch_cnt is not None:
        parts = zip(
            xyz.split(xyz_batch_cnt.tolist()),
            center_xyz.split(center_xyz_batch_cnt.tolist()),
            strict=True,
        )
        found = []
        for points, centers in parts:
            index, is_empty = _in_balls(min_radius, max_radius, sample_num, points, centers)
            index[is_empty, 0] = -1
            found.append(index)
        return torch.cat(found)
    parts = zip(xyz, center_xyz, strict=True)
    return torch.stack([_in_balls(min_radius, max_radius, sample_num, *part)[0] for part in parts])


def knn(k: int, xyz: Tensor, center_xyz: Tensor | None = None, transposed: bool = False) -> Tensor:
    """The ``k`` nearest of points ``(B, N, 3)`` to each centre, ``(B, k, M)``."""
    centers = xyz if center_xyz is None else center_xyz
    if transposed:
        xyz, centers = xyz.transpose(1, 2), centers.transpose(1, 2)
    nearest = _distances(centers, xyz).topk(k, largest=False).indices
    return nearest.transpose(1, 2).int().contiguous()


def three_nn(target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Distances and indices of the three nearest sources of each target, ``(B, N, 3)``."""
    distance, index = _distances(target, source).topk(3, largest=False)
    return distance.detach(), index.int()


def three_interpolate(features: Tensor, indices: Tensor, weight: Tensor) -> Tensor:
    """Features ``(B, C, M)`` at three indices, weighted and added, ``(B, C, N)``."""
    return (grouping_operation(features, indices) * weight[:, None]).sum(-1)


def grouping_operation(
    features: Tensor,
    indices: Tensor,
    features_batch_cnt: Tensor | None = None,
    indices_batch_cnt: Tensor | None = None,
) -> Tensor:
    """Features ``(B, C, N)`` at indices ``(B, M, S)``, ``(B, C, M, S)``; stacked ``(M, C, S)``."""
    if features_batch_cnt is not None:
        parts = zip(
            features.split(features_batch_cnt.tolist()),
            indices.split(indices_batch_cnt.tolist()),
            strict=True,
        )
        return torch.cat([rows[index.long()].transpose(1, 2) for rows, index in parts])
    flat = indices.long().flatten(1)[:, None].expand(-1, features.shape[1], -1)
    return features.gather(2, flat).unflatten(2, indices.shape[1:])


def gather_points(features: Tensor, indices: Tensor) -> Tensor:
    """Features ``(B, C, N)`` at indices ``(B, M)``, ``(B, C, M)``."""
    return features.gather(2, indices.long()[:, None].expand(-1, features.shape[1], -1))


def dynamic_scatter(feats: Tensor, coors: Tensor, reduce_type: str) -> tuple[Tensor, Tensor]:
    """Mean, sum or maximum of the points ``(N, C)`` of each cell; cells below 0 are none."""
    inside = (coors >= 0).all(1)
    values, cells, _ = dynamic_scatter_3d(feats[inside], coors[inside], reduce_type, True)
    return values, cells


def dynamic_scatter_3d(
    feats: Tensor, coors: Tensor, reduce_type: str = 'max', return_map: bool = False
) -> tuple[Tensor, ...]:
    """The same of MMDetection3D, for cells that all exist; on request with each point's cell."""
    cells, index = coors.unique(dim=0, return_inverse=True)
    reduce = {'max': 'amax'}.get(reduce_type, reduce_type)
    values = feats.new_zeros(len(cells), feats.shape[1]).scatter_reduce(
        0, index[:, None].expand(-1, feats.shape[1]), feats, reduce, include_self=False
    )
    return (values, cells, index) if return_map else (values, cells)


def roipoint_pool3d(
    points: Tensor, point_features: Tensor, boxes3d: Tensor, num_sampled_points: int = 512
) -> tuple[Tensor, Tensor]:
    """The first points ``(B, N, 3)`` in each box, again from the first for the rest.

    Returns:
        Points and features, ``(B, M, S, 3 + C)``, and which boxes are empty, ``(B, M)``.
    """
    values = torch.cat([points, point_features], dim=-1)
    inside = points_in_boxes_all(points, boxes3d).transpose(1, 2) > 0  # (B, M, N)
    number = inside.sum(-1, keepdim=True)
    order = torch.where(inside, torch.arange(points.shape[1]), points.shape[1]).sort(-1).values
    turn = torch.arange(num_sampled_points) % number.clamp(min=1)
    rows = order.gather(2, turn).clamp(max=points.shape[1] - 1)
    pooled = values[torch.arange(len(values))[:, None, None], rows]
    return pooled * (number > 0)[..., None], (number[..., 0] == 0).int()


def roiaware_pool3d(
    rois: Tensor,
    pts: Tensor,
    pts_feature: Tensor,
    out_size: int | tuple[int, int, int],
    _max_pts_per_voxel: int,
    mode: int,
) -> Tensor:
    """Maximum (mode 0) or mean (1) of the points ``(P, 3)`` in each part of each box.

    All points of a part count, not the first ``max_pts_per_voxel`` alone.

    Returns:
        ``(N, X, Y, Z, C)``, 0 where there is no point.
    """
    cells = torch.tensor([out_size] * 3 if isinstance(out_size, int) else list(out_size))
    parts = []
    for roi in rois:
        inside = points_in_boxes_all(pts[None], roi[None, None])[0, :, 0] > 0
        x, y, z = (pts[inside] - roi[:3]).unbind(1)
        cos, sin = roi[6].cos(), roi[6].sin()
        local = torch.stack([x * cos + y * sin, y * cos - x * sin, z], dim=1)
        place = local / roi[3:6] + torch.tensor([0.5, 0.5, 0.0])
        cell = (place * cells).long().minimum(cells - 1).clamp(min=0)
        index = (cell[:, 0] * cells[1] + cell[:, 1]) * cells[2] + cell[:, 2]
        parts.append(
            pts_feature.new_zeros(int(cells.prod()), pts_feature.shape[1]).scatter_reduce(
                0,
                index[:, None].expand(-1, pts_feature.shape[1]),
                pts_feature[inside],
                'mean' if mode else 'amax',
                include_self=False,
            )
        )
    return torch.stack(parts).unflatten(1, tuple(cells.tolist()))


def points_in_boxes_part(points: Tensor, boxes: Tensor) -> Tensor:
    """The first box in which each of points ``(B, N, 3)`` lies, ``(B, N)``; -1 for none."""
    inside = points_in_boxes_all(points, boxes)
    return torch.where(inside.amax(2) > 0, inside.argmax(2), -1).int()


def points_in_boxes_all(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether points ``(B, N, 3)`` lie in boxes ``(B, T, 7)``, ``(B, N, T)``."""
    return mmcv.ops.points_in_boxes_cpu(points, boxes)


def sigmoid_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    alpha: float = 0.25,
    weight: Tensor | None = None,
    reduction: str = 'mean',
) -> Tensor:
    """Focal loss of logits ``(N, K)`` and labels ``(N,)``, of which ``K`` is the background."""
    hit = torch.nn.functional.one_hot(target, input.shape[1] + 1)[:, :-1].to(input)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        input, hit, reduction='none'
    )
    away = (input.sigmoid() - hit).abs()
    loss = (alpha * hit + (1 - alpha) * (1 - hit)) * away**gamma * cross_entropy
    loss = loss if weight is None else loss * weight[:, None]
    return {'none': lambda x: x, 'mean': torch.mean, 'sum': torch.sum}[reduction](loss)


OPERATORS: dict[str, Callable] = {
    'furthest_point_sample': furthest_point_sample,
    'furthest_point_sample_with_dist': furthest_point_sample_with_dist,
    'ball_query': ball_query,
    'knn': knn,
    'three_nn': three_nn,
    'three_interpolate': three_interpolate,
    'grouping_operation': grouping_operation,
    'gather_points': gather_points,
    'points_in_boxes_part': points_in_boxes_part,
    'points_in_boxes_all': points_in_boxes_all,
    'sigmoid_focal_loss': sigmoid_focal_loss,
}
"""The operators by their names in ``mmcv.ops``."""


def _furthest(distance_to: Callable[[Tensor], Tensor], like: Tensor, number: int) -> Tensor:
    with torch.no_grad():
        last = torch.zeros(len(like), 1, dtype=torch.long, device=like.device)
        chosen, nearest = [last], torch.full_like(like, 1e10)
        for _ in range(number - 1):
            nearest = nearest.minimum(distance_to(last))
            last = nearest.argmax(1, keepdim=True)
            chosen.append(last)
    return torch.cat(chosen, dim=1).int()


def _in_balls(
    low: float, high: float, number: int, points: Tensor, centers: Tensor
) -> tuple[Tensor, Tensor]:
    """Indices ``(M, S)`` of points ``(N, 3)`` in balls, and which balls are empty."""
    square = (centers[:, None] - points).square().sum(-1)
    inside = (square == 0) | ((square >= low**2) & (square < high**2))
    order = torch.where(inside, torch.arange(len(points), device=points.device), len(points))
    first = order.topk(min(number, len(points)), largest=False).values.sort(1).values
    if number > len(points):
        first = torch.cat([first, first[:, :1].expand(-1, number - len(points))], dim=1)
    is_empty = first[:, 0] == len(points)
    first = torch.where(first == len(points), first[:, :1], first)
    return torch.where(is_empty[:, None], 0, first).int(), is_empty


def _distances(one: Tensor, other: Tensor) -> Tensor:
    # By matrix products small distances would drown in rounding.
    return torch.cdist(one, other, compute_mode='donot_use_mm_for_euclid_dist')


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Rows ``(B, 1, C)`` of ``(B, N, C)`` at ``index`` (B, 1)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))

"""Exact IoU of rotated boxes in plain torch."""

from __future__ import annotations

import torch
from mmdet3d.registry import TASK_UTILS
from torch import Tensor

_CORNER_SIGNS = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))


@TASK_UTILS.register_module()
class RotatedOverlaps3D:
    """IoU of LiDAR boxes; the same values as ``BboxOverlaps3D`` without a compiled operator.

    It runs wherever torch runs. Only pairs whose circumscribed circles meet are computed, so it
    is also the faster one when most pairs are far apart.

    Example:
        ``iou_calculator=dict(type='RotatedOverlaps3D')``
    """

    def __init__(self, coordinate: str = 'lidar') -> None:
        if coordinate != 'lidar':
            raise ValueError(f"coordinate is {coordinate!r}; RotatedOverlaps3D knows 'lidar' only")

    def __call__(self, bboxes1: Tensor, bboxes2: Tensor) -> Tensor:
        """IoU (N, M) of boxes (N, 7+) and (M, 7+): x, y, z bottom, dx, dy, dz, yaw."""
        return rotated_iou_3d(bboxes1, bboxes2)


@torch.no_grad()
def rotated_iou_3d(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Volume IoU of upright boxes.

    Args:
        boxes1: (N, 7+) x, y, z bottom, dx, dy, dz in metres, yaw in radians.
        boxes2: (M, 7+) likewise.

    Returns:
        (N, M) in [0, 1], of the first argument's dtype; computed in float64. Boxes that are not
        finite overlap nothing.
    """
    iou = boxes1.new_zeros(len(boxes1), len(boxes2))
    a, b = boxes1[:, :7].double(), boxes2[:, :7].double()
    reach = (a[:, None, 3:5].norm(dim=-1) + b[None, :, 3:5].norm(dim=-1)) / 2
    top = torch.minimum((a[:, 2] + a[:, 5])[:, None], (b[:, 2] + b[:, 5])[None])
    overlap_z = (top - torch.maximum(a[:, None, 2], b[None, :, 2])).clamp(min=0)
    near = (torch.cdist(a[:, :2], b[:, :2]) < reach) & (overlap_z > 0)
    rows, cols = near.nonzero(as_tuple=True)
    if len(rows) == 0:
        return iou
    overlap = intersection_area(a[rows], b[cols]) * overlap_z[rows, cols]
    volume = a[rows, 3:6].prod(dim=1) + b[cols, 3:6].prod(dim=1)
    values = (overlap / (volume - overlap).clamp(min=1e-8)).clamp(0, 1)
    iou[rows, cols] = values.nan_to_num(0.0).to(iou.dtype)
    return iou


def intersection_area(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Area (K,) shared by the BEV rectangles of paired boxes (K, 7+).

    By Green's theorem: the boundary of the shared region consists of the parts of each
    rectangle's edges that lie inside the other one. An edge that both rectangles have in common
    is counted once, with the first.
    """
    origin = boxes1[:, None, :2]
    corners1, corners2 = _corners(boxes1, origin), _corners(boxes2, origin)
    doubled = _boundary_inside(corners1, corners2, keep_shared=True)
    return (doubled + _boundary_inside(corners2, corners1, keep_shared=False)).clamp(min=0) / 2


def _corners(boxes: Tensor, origin: Tensor) -> Tensor:
    """Corners (K, 4, 2), counter-clockwise, relative to ``origin`` (K, 1, 2)."""
    local = boxes.new_tensor(_CORNER_SIGNS)[None] * boxes[:, None, 3:5]
    cos, sin = boxes[:, 6, None].cos(), boxes[:, 6, None].sin()
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return torch.stack((x, y), dim=-1) + boxes[:, None, :2] - origin


def _boundary_inside(subject: Tensor, clip: Tensor, keep_shared: bool) -> Tensor:
    """Twice the line integral (x dy - y dx) / 2 over ``subject``'s edges within ``clip`` (K,)."""
    start, edge = subject, subject.roll(-1, dims=1) - subject
    clip_edge = clip.roll(-1, dims=1) - clip
    # Signed distance (times length) of an edge's ends to the clip lines, positive inside.
    side = _cross(clip_edge[:, None], start[:, :, None] - clip[:, None])
    slope = _cross(clip_edge[:, None], edge[:, :, None])
    scale = (clip_edge.norm(dim=-1)[:, None] * edge.norm(dim=-1)[:, :, None]).clamp(min=1e-12)
    parallel = slope.abs() <= 1e-9 * scale
    at = -side / torch.where(parallel, torch.ones_like(slope), slope)
    enter = torch.where(~parallel & (slope > 0), at, torch.zeros_like(at)).amax(dim=2)
    leave = torch.where(~parallel & (slope < 0), at, torch.ones_like(at)).amin(dim=2)
    tolerance = 1e-9 * scale
    on_line = side.abs() <= tolerance
    same_direction = (edge[:, :, None] * clip_edge[:, None]).sum(dim=-1) > 0
    inside = (side > tolerance) | (on_line & same_direction & keep_shared)
    visible = (inside | ~parallel).all(dim=2)
    first, last = enter.clamp(0, 1), leave.clamp(0, 1)
    span = torch.where(visible & (last > first), last - first, torch.zeros_like(first))
    return (_cross(start, edge) * span).sum(dim=1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]

"""KITTI's average precision without CUDA: the overlaps of boxes that ``KittiMetric`` asks for."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from mmdet3d.evaluation.functional.kitti_utils import eval as kitti_eval
from mmengine.logging import MMLogger
from numba import cuda

from .rotated_iou import intersection_area

_PAIRS_AT_A_TIME = 50_000

_on_cuda = (kitti_eval.bev_box_overlap, kitti_eval.d3_box_overlap)


def bev_box_overlap(boxes: np.ndarray, qboxes: np.ndarray, criterion: int = -1) -> np.ndarray:
    """Overlap of boxes seen from above, as ``rotate_iou_gpu_eval`` of MMDetection3D defines it.

    Args:
        boxes: (N, 5) centre x and z, extent along both, in metres, and rotation about y, of camera
            coordinates.
        qboxes: (K, 5) likewise.
        criterion: What the shared area is divided by: -1 the area of both together, 0 that of
            ``qboxes`` and 1 that of ``boxes`` (there, too, in this order), 2 nothing.

    Returns:
        (N, K) float64.
    """
    ours, theirs = (torch.from_numpy(np.asarray(b, np.float64)) for b in (boxes, qboxes))
    shared = _shared_areas(ours, theirs)
    first, second = ours[:, 2:4].prod(1)[:, None], theirs[:, 2:4].prod(1)[None]
    divisor = {-1: first + second - shared, 0: second, 1: first}.get(criterion, 1.0)
    return (shared / divisor).numpy()


def d3_box_overlap(boxes: np.ndarray, qboxes: np.ndarray, criterion: int = -1) -> np.ndarray:
    """Overlap (N, K) of boxes (N, 7) and (K, 7) in camera coordinates, by volume."""
    shared = bev_box_overlap(boxes[:, [0, 2, 3, 5, 6]], qboxes[:, [0, 2, 3, 5, 6]], 2)
    kitti_eval.d3_box_overlap_kernel(boxes, qboxes, shared, criterion)
    return shared


def _shared_areas(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Areas (N, K) that rectangles share; computed for those whose circles meet."""
    reach = (boxes[:, None, 2:4].norm(dim=-1) + others[None, :, 2:4].norm(dim=-1)) / 2
    rows, columns = (torch.cdist(boxes[:, :2], others[:, :2]) < reach).nonzero(as_tuple=True)
    areas = boxes.new_zeros(len(boxes), len(others))
    for row, column in zip(
        rows.split(_PAIRS_AT_A_TIME), columns.split(_PAIRS_AT_A_TIME), strict=True
    ):
        areas[row, column] = intersection_area(_as_lidar(boxes[row]), _as_lidar(others[column]))
    return areas


def _as_lidar(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes (K, 7) for ``intersection_area``: about y, turns of the camera go the other way."""
    flat = torch.zeros_like(boxes[:, :1])
    return torch.cat([boxes[:, :2], flat, boxes[:, 2:4], flat, -boxes[:, 4:]], dim=1)


def _choose(on_cuda, on_cpu):
    def overlap(boxes: np.ndarray, qboxes: np.ndarray, criterion: int = -1) -> np.ndarray:
        if cuda.is_available():
            return on_cuda(boxes, qboxes, criterion)
        _tell()
        return on_cpu(boxes, qboxes, criterion)

    return overlap


@cache
def _tell() -> None:
    MMLogger.get_current_instance().info(
        f'KITTI AP: numba finds no CUDA, so {__name__} computes the overlaps on the CPU'
    )


# KittiMetric looks the two up where it computes; on a machine without CUDA they cannot be loaded.
kitti_eval.bev_box_overlap = _choose(_on_cuda[0], bev_box_overlap)
kitti_eval.d3_box_overlap = _choose(_on_cuda[1], d3_box_overlap)

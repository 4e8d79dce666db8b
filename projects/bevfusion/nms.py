"""Suppression of doubled boxes after decoding."""

from __future__ import annotations

import torch
from torch import Tensor

from .boxes import constants

# Groups of classes that suppress each other, and the limit: squared metres for 'circle',
# IoU for 'rotate'. Classes not named here are not suppressed.
GROUPS = {
    'nuScenes': (((8,), 0.175), ((9,), 0.175)),
    'Waymo': (((0,), 0.7), ((1,), 0.7), ((2,), 0.7)),
}


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, test_cfg: dict) -> Tensor:
    """Boxes to keep.

    Args:
        boxes: (N, 7+) in metres.
        scores: (N,).
        labels: (N,).
        test_cfg: ``dataset`` and ``nms_type``: None keeps all, 'circle' compares centres,
            anything else BEV overlap (``pre_maxsize`` and ``post_maxsize`` limit it).

    Returns:
        (N,) bool.
    """
    nms_type = test_cfg.get('nms_type')
    keep = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    if nms_type is None:
        return keep
    for classes, limit in GROUPS.get(test_cfg['dataset'], ()):
        group = torch.isin(labels, constants(classes, labels)).nonzero().flatten()
        keep[group] = False
        if nms_type == 'circle':
            kept = circle_nms(boxes[group, :2], scores[group], limit)
        else:
            kept = _rotated_nms(boxes[group], scores[group], limit, test_cfg)
        keep[group[kept]] = True
    return keep


def circle_nms(
    centers: Tensor, scores: Tensor, max_squared_distance: float, max_kept: int = 83
) -> Tensor:
    """Indices, best first, of centres (N, 2) without a better one within the distance."""
    order = scores.argsort(descending=True)
    xy = centers[order].double().cpu()
    close = ((xy[:, None] - xy[None]) ** 2).sum(dim=-1) <= max_squared_distance
    alive = torch.ones(len(xy), dtype=torch.bool)
    kept = []
    for index in range(len(xy)):
        if alive[index]:
            kept.append(index)
            alive &= ~close[index]
    return order[torch.tensor(kept[:max_kept], dtype=torch.long, device=order.device)]


def _rotated_nms(boxes: Tensor, scores: Tensor, limit: float, test_cfg: dict) -> Tensor:
    from mmdet3d.models.layers import nms_bev
    from mmdet3d.structures import xywhr2xyxyr

    bev = xywhr2xyxyr(boxes[:, [0, 1, 3, 4, 6]])
    return nms_bev(
        bev,
        scores,
        thresh=limit,
        pre_max_size=test_cfg.get('pre_maxsize'),
        post_max_size=test_cfg.get('post_maxsize'),
    )

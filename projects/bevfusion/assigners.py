"""Matching of queries to ground-truth boxes: costs and assigners."""

from __future__ import annotations

import torch
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet3d.registry import TASK_UTILS
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .boxes import are_objects

_IOU_3D = dict(type='BboxOverlaps3D', coordinate='lidar')


@TASK_UTILS.register_module()
class HungarianAssigner3D(BaseAssigner):
    """One-to-one matching of least total cost (TransFusion, Bai et al., CVPR 2022).

    Args:
        cls_cost: Cost of the class logits.
        reg_cost: Cost of the BEV centres.
        iou_cost: Cost of the 3D IoU.
        iou_calculator: How the IoU is computed.
    """

    def __init__(
        self,
        cls_cost: dict | None = None,
        reg_cost: dict | None = None,
        iou_cost: dict | None = None,
        iou_calculator: dict | None = None,
    ) -> None:
        self.cls_cost = TASK_UTILS.build(cls_cost or dict(type='mmdet.ClassificationCost'))
        self.reg_cost = TASK_UTILS.build(reg_cost or dict(type='BBoxBEVL1Cost', weight=1.0))
        self.iou_cost = TASK_UTILS.build(iou_cost or dict(type='IoU3DCost', weight=1.0))
        self.iou_calculator = TASK_UTILS.build(iou_calculator or _IOU_3D)

    def assign(
        self,
        bboxes: Tensor,
        gt_bboxes: Tensor,
        gt_labels: Tensor,
        cls_pred: Tensor,
        train_cfg: dict,
    ) -> AssignResult:
        """Match one sample.

        Args:
            bboxes: (P, 7 or 9) predicted boxes, bottom-centred, in metres.
            gt_bboxes: (N, 7 or 9) ground truth. N may be 0; boxes without size match nothing.
            gt_labels: (N,).
            cls_pred: (1, num_classes, P) logits.
            train_cfg: Holds ``point_cloud_range``.

        Returns:
            ``gt_inds`` (P,): 0 for background, i + 1 for box i; ``max_overlaps`` (P,): IoU with
            the matched box, else 0; ``labels`` (P,): -1 for background.
        """
        num_gts = len(gt_bboxes)
        gt_inds = torch.zeros(len(bboxes), dtype=torch.long, device=bboxes.device)
        labels = torch.full_like(gt_inds, -1)
        overlaps = bboxes.new_zeros(len(bboxes))
        objects = are_objects(gt_bboxes).nonzero().flatten()
        gt_bboxes, gt_labels = gt_bboxes[objects], gt_labels[objects]
        if len(objects) and len(bboxes):
            iou = self.iou_calculator(bboxes, gt_bboxes)
            cost = (
                self.cls_cost(InstanceData(scores=cls_pred[0].T), InstanceData(labels=gt_labels))
                + self.reg_cost(bboxes, gt_bboxes, train_cfg)
                + self.iou_cost(iou)
            )
            # A diverged prediction costs much instead of stopping the solver.
            cost = torch.nan_to_num(cost.detach(), nan=1e4, posinf=1e4, neginf=-1e4)
            rows, cols = linear_sum_assignment(cost.cpu().numpy())
            rows = torch.from_numpy(rows).to(bboxes.device)
            cols = torch.from_numpy(cols).to(bboxes.device)
            gt_inds[rows] = objects[cols] + 1
            labels[rows] = gt_labels[cols]
            overlaps[rows] = iou[rows, cols]
        return AssignResult(num_gts, gt_inds, overlaps, labels=labels)


@TASK_UTILS.register_module()
class HeuristicAssigner3D(BaseAssigner):
    """Each ground-truth box takes the nearest query of its class.

    Where several boxes want one query, the nearest box has it.

    Args:
        dist_thre: Largest distance of a match in metres.
        iou_calculator: How the IoU is computed.
    """

    def __init__(self, dist_thre: float = 100, iou_calculator: dict | None = None) -> None:
        self.dist_thre = dist_thre
        self.iou_calculator = TASK_UTILS.build(iou_calculator or _IOU_3D)

    def assign(
        self,
        bboxes: Tensor,
        gt_bboxes: Tensor,
        gt_bboxes_ignore: Tensor | None = None,
        gt_labels: Tensor | None = None,
        query_labels: Tensor | None = None,
    ) -> AssignResult:
        """Match one sample; arguments and result as in :class:`HungarianAssigner3D`."""
        del gt_bboxes_ignore
        num_gts = len(gt_bboxes)
        gt_inds = torch.zeros(len(bboxes), dtype=torch.long, device=bboxes.device)
        labels = torch.full_like(gt_inds, -1)
        overlaps = bboxes.new_zeros(len(bboxes))
        objects = are_objects(gt_bboxes).nonzero().flatten()
        gt_bboxes, gt_labels = gt_bboxes[objects], gt_labels[objects]
        if len(objects) and len(bboxes):
            distance = torch.cdist(gt_bboxes[:, :2], bboxes[:, :2])
            if query_labels is not None:
                distance = distance + (query_labels[None] != gt_labels[:, None]) * self.dist_thre
            nearest, query = distance.min(dim=1)
            # Far to near, so that the nearest box writes last.
            for gt in nearest.argsort(descending=True).tolist():
                if nearest[gt] <= self.dist_thre:
                    gt_inds[query[gt]] = gt + 1
                    labels[query[gt]] = gt_labels[gt]
            matched = gt_inds.nonzero().flatten()
            iou = self.iou_calculator(bboxes[matched], gt_bboxes[gt_inds[matched] - 1])
            overlaps[matched] = iou.diagonal()
            gt_inds[matched] = objects[gt_inds[matched] - 1] + 1
        return AssignResult(num_gts, gt_inds, overlaps, labels=labels)


@TASK_UTILS.register_module()
class BBoxBEVL1Cost:
    """L1 distance of BEV centres, each axis scaled to the length of the range."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, bboxes: Tensor, gt_bboxes: Tensor, train_cfg: dict) -> Tensor:
        """Cost (P, N) of boxes (P, 2+) and (N, 2+); ``train_cfg`` holds the range."""
        limits = bboxes.new_tensor(list(train_cfg['point_cloud_range']))
        start, extent = limits[:2], limits[3:5] - limits[:2]
        xy, gt_xy = (bboxes[:, :2] - start) / extent, (gt_bboxes[:, :2] - start) / extent
        return torch.cdist(xy, gt_xy, p=1) * self.weight


@TASK_UTILS.register_module()
class IoU3DCost:
    """Negative IoU."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, iou: Tensor) -> Tensor:
        """Cost of the shape of ``iou``."""
        return -iou * self.weight

"""Training targets of the TransFusion head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet.models.task_modules import AssignResult
from mmengine.structures import InstanceData
from torch import Tensor

from .assigners import HeuristicAssigner3D
from .bbox_coder import TransFusionBBoxCoder
from .boxes import are_objects
from .heatmap import draw_gaussians, gaussian_radius


@dataclass
class TransFusionTargets:
    """Targets of a batch; L decoder layers of P queries lie side by side.

    Attributes:
        labels: (B, L * P) class, or num_classes for background.
        label_weights: (B, L * P).
        box_codes: (B, L * P, code_size).
        box_weights: (B, L * P, code_size), zero for background and where a code is not finite, as
            an unknown velocity is; MMDetection3D's ``NuScenesDataset`` writes 0 m/s for those.
        heatmap: (B, num_classes, X, Y).
        num_pos: Matched queries in the batch.
        matched_iou: Scalar; mean over samples of the mean IoU of matched queries.
    """

    labels: Tensor
    label_weights: Tensor
    box_codes: Tensor
    box_weights: Tensor
    heatmap: Tensor
    num_pos: int
    matched_iou: Tensor


@torch.no_grad()
def make_targets(
    batch_gt: list[InstanceData],
    outputs: dict[str, Tensor],
    *,
    coder: TransFusionBBoxCoder,
    assigner,
    train_cfg: dict,
    num_classes: int,
    num_proposals: int,
    grid_xy: Sequence[int],
) -> TransFusionTargets:
    """Targets for raw head outputs.

    Matching runs on the CPU: its solver does, and a few hundred boxes cost less there than the
    many small kernels and waits of a GPU.

    Args:
        batch_gt: ``bboxes_3d`` and ``labels_3d`` per sample.
        outputs: Raw outputs of the head, left as they are.
        coder: Box coder of the head.
        assigner: Assigner of the head.
        train_cfg: The head's training settings.
        num_classes: Number of classes.
        num_proposals: Queries P of a decoder layer.
        grid_xy: BEV cells (X, Y).

    Raises:
        ValueError: A label is none of the classes, or boxes lack the velocity that codes have.
    """
    raw = {k: outputs[k].detach().float().cpu() for k in ('heatmap', 'center', 'height', 'dim')}
    rot = outputs['rot'].detach().float().cpu()
    vel = outputs['vel'].detach().float().cpu() if 'vel' in outputs else None
    boxes = coder.decode_boxes(rot, raw['dim'], raw['center'], raw['height'], vel)
    gt_boxes, gt_labels = _objects(batch_gt)
    _check(gt_boxes, gt_labels, coder, num_classes)

    batch_size, num_queries = boxes.shape[:2]
    labels = torch.full((batch_size, num_queries), num_classes)
    label_weights = torch.ones(batch_size, num_queries)
    box_codes = torch.zeros(batch_size, num_queries, coder.code_size)
    box_weights = torch.zeros_like(box_codes)
    ious, num_pos = [], 0
    for index in range(batch_size):
        gt_inds, overlaps = _match(
            assigner,
            boxes[index],
            raw['heatmap'][index],
            gt_boxes[index],
            gt_labels[index],
            train_cfg,
            num_proposals,
            outputs.get('query_labels'),
            index,
        )
        positive = gt_inds.nonzero().flatten()
        matched = gt_inds[positive] - 1
        labels[index, positive] = gt_labels[index][matched]
        codes = coder.encode(gt_boxes[index][matched])
        known = codes.isfinite()
        box_codes[index, positive] = torch.where(known, codes, 0.0)
        box_weights[index, positive] = known.float()
        if train_cfg.get('pos_weight', -1) > 0:
            label_weights[index, positive] = train_cfg['pos_weight']
        ious.append(overlaps.clamp(0, 1)[positive].sum() / max(len(positive), 1))
        num_pos += len(positive)

    device = outputs['heatmap'].device
    return TransFusionTargets(
        labels=labels.to(device),
        label_weights=label_weights.to(device),
        box_codes=box_codes.to(device),
        box_weights=box_weights.to(device),
        heatmap=make_heatmap(gt_boxes, gt_labels, train_cfg, num_classes, grid_xy, device),
        num_pos=num_pos,
        matched_iou=torch.stack(ious).mean().to(device),
    )


def _objects(batch_gt: list[InstanceData]) -> tuple[list[Tensor], list[Tensor]]:
    """Boxes (N, 7+) that have a size, and their labels (N,), per sample, on the CPU."""
    all_boxes, all_labels = [], []
    for gt in batch_gt:
        boxes = gt.bboxes_3d.tensor.detach().float().cpu()
        keep = are_objects(boxes)
        all_boxes.append(boxes[keep])
        all_labels.append(gt.labels_3d.detach().long().cpu()[keep])
    return all_boxes, all_labels


def _check(
    boxes: list[Tensor], labels: list[Tensor], coder: TransFusionBBoxCoder, num_classes: int
) -> None:
    every = torch.cat(labels)
    wrong = every[(every < 0) | (every >= num_classes)].unique()
    if len(wrong):
        raise ValueError(
            f'annotated boxes have the labels {wrong.tolist()}, and num_classes of the head is '
            f'{num_classes}: make num_classes the number of classes in metainfo; -1 is a class '
            'that is not among them, which ObjectNameFilter in the pipeline removes'
        )
    columns = min((part.shape[1] for part in boxes), default=9)
    if coder.code_size == 10 and columns < 9:
        raise ValueError(
            f'annotated boxes have {columns} columns, and code_size=10 of the bbox_coder needs 9, '
            'with velocity: let the data set load velocities (with_velocity=True), or remove vel '
            'from common_heads and set code_size=8 and 8 code_weights'
        )


def make_heatmap(
    gt_boxes: list[Tensor],
    gt_labels: list[Tensor],
    train_cfg: dict,
    num_classes: int,
    grid_xy: Sequence[int],
    device: torch.device | str = 'cpu',
) -> Tensor:
    """Gaussian peaks at the box centres, (B, num_classes, X, Y).

    Args:
        gt_boxes: (N, 7+) per sample, in metres, on the CPU; those without size are left out.
        gt_labels: (N,) per sample.
        train_cfg: The head's training settings.
        num_classes: Number of classes.
        grid_xy: BEV cells (X, Y).
        device: Where to draw.
    """
    heatmap = torch.zeros(len(gt_boxes), num_classes, *grid_xy, device=device)
    sample = torch.cat([torch.full((len(b),), i) for i, b in enumerate(gt_boxes)])
    boxes, labels = torch.cat([b[:, :7] for b in gt_boxes]), torch.cat(gt_labels)
    factor = train_cfg['out_size_factor']
    voxel = boxes.new_tensor(list(train_cfg['voxel_size'])[:2])
    start = boxes.new_tensor(list(train_cfg['point_cloud_range'])[:2])
    size_cells = boxes[:, 3:5] / voxel / factor
    cell_xy = ((boxes[:, :2] - start) / voxel / factor).int()
    radius = gaussian_radius(size_cells[:, 1], size_cells[:, 0], train_cfg['gaussian_overlap'])
    valid = are_objects(boxes)
    radius = radius[valid].int().clamp(min=train_cfg['min_radius'])
    return draw_gaussians(heatmap, sample[valid], labels[valid], cell_xy[valid], radius)


def _match(
    assigner,
    boxes: Tensor,
    logits: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    train_cfg: dict,
    num_proposals: int,
    query_labels: Tensor | None,
    index: int,
) -> tuple[Tensor, Tensor]:
    """Matched box + 1 (or 0) and IoU of every query of a sample, layer by layer."""
    results: list[AssignResult] = []
    for first in range(0, len(boxes), num_proposals):
        span = slice(first, first + num_proposals)
        if isinstance(assigner, HeuristicAssigner3D):
            classes = None if query_labels is None else query_labels[index].cpu()
            result = assigner.assign(boxes[span], gt_boxes, None, gt_labels, classes)
        else:
            result = assigner.assign(
                boxes[span], gt_boxes, gt_labels, logits[None, :, span], train_cfg
            )
        results.append(result)
    gt_inds = torch.cat([result.gt_inds for result in results])
    return gt_inds, torch.cat([result.max_overlaps for result in results])

"""Distillation of centre heads (CenterPoint)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.connectors.checks import check_same_shape
from mmdistill.contracts import LinkLoss
from mmdistill.losses.reduce import as_float, mask_like
from mmdistill.reading.address import describe
from mmdistill.reading.shapes import Layer
from mmdistill3d.bev import BEVGrid
from mmdistill3d.classes import check_class_order
from mmdistill3d.losses.response.boxes import BoxDistance, log_size
from mmdistill3d.losses.response.heatmap import HeatmapKDLoss
from mmdistill3d.losses.response.scores import weighted_ratio

POSITIONS = ('gt', 'peaks', 'union')
OUTPUTS = ('heatmap', 'reg', 'height', 'dim', 'rot')


@MODELS.register_module()
class CenterHeadKDLoss(LinkLoss):
    r"""A centre head's class maps follow the teacher's, and its boxes where objects are.

    .. math::

        L = \lambda_h L_{heatmap} + \lambda_b \frac{\sum_i w_i\, D(b_i, b^t_i)}{\sum_i w_i}

    with :class:`~mmdistill3d.losses.response.heatmap.HeatmapKDLoss` over the classes of all tasks
    and, over tasks and cells ``i``, the distance ``D`` of the boxes that both heads give in a cell,
    in metres (:class:`~mmdistill3d.losses.response.boxes.BoxDistance`). ``w`` is the teacher's
    score in the cells of annotated centres, at the teacher's own peaks, or at both.

    ``CenterHead.loss_by_feat`` overwrites the student's logits by probabilities: link a copy, as
    below; the recorder refuses the original. All tasks are read at once.

    Source: Yang et al., "Towards Efficient 3D Object Detection with Knowledge Distillation",
    NeurIPS 2022; the head of Yin et al., "Center-based 3D Object Detection and Tracking", CVPR
    2021.

    Takes: outputs of CenterHead, a tuple of one list of dicts a task; boxes; mask.

    Config lines::

        student=dict(layer='pts_bbox_head', clone=True), teacher='pts_bbox_head',
        loss=dict(type='CenterHeadKDLoss', point_cloud_range=point_cloud_range)

    Args:
        point_cloud_range: Range of the map in metres, as in the detector's voxelisation.
        axes: Order of the map's axes, see :class:`~mmdistill3d.bev.BEVGrid`.
        heatmap_weight: :math:`\lambda_h`.
        box_weight: :math:`\lambda_b`.
        heatmap: Further arguments of the heatmap's loss, e.g. ``dict(form='kl')``.
        positions: Where boxes are compared: ``'gt'``, ``'peaks'`` (largest of 3 x 3 cells and at
            least ``score_thr``) or ``'union'``.
        score_thr: Least score of a peak.
        box_weights: Weights of the parts of a box.
        beta: See :class:`~mmdistill3d.losses.response.boxes.BoxDistance`.
        norm_bbox: Whether the heads' sizes are logarithms, as the heads' own ``norm_bbox``.
        loss_weight: Factor of the loss.
    """

    needs = ('data_samples', 'mask')

    def __init__(
        self,
        point_cloud_range: Sequence[float],
        axes: str = 'yx',
        heatmap_weight: float = 1.0,
        box_weight: float = 0.25,
        heatmap: dict | None = None,
        positions: str = 'union',
        score_thr: float = 0.1,
        box_weights: dict[str, float] | None = None,
        beta: float = 0.1,
        norm_bbox: bool = True,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if positions not in POSITIONS:
            raise ValueError(f'positions is one of {POSITIONS}, not {positions!r}')
        self.heatmap = HeatmapKDLoss(point_cloud_range, axes, **(heatmap or {}))
        self.grid = BEVGrid(point_cloud_range, axes)
        self.heatmap_weight, self.box_weight = heatmap_weight, box_weight
        self.positions, self.score_thr = positions, score_thr
        self.box_distance = BoxDistance(box_weights, beta)
        self.norm_bbox, self.loss_weight = norm_bbox, loss_weight

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Demand that both models mean the same classes."""
        check_class_order(student.model, teacher.model)

    def forward(
        self,
        student: Sequence[Any],
        teacher: Sequence[Any],
        *,
        data_samples: list | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the loss between the outputs of two heads.

        Args:
            student: For each task a list with a dict of maps ``heatmap`` (logits), ``reg``,
                ``height``, ``dim``, ``rot`` and maybe ``vel``, each ``(B, C, H, W)``.
            teacher: The same of the teacher.
            data_samples: Samples with ``gt_instances_3d``.
            mask: Further weights ``(B, 1, H, W)``.

        Raises:
            ValueError: An output is missing, or tasks, classes or sizes of the maps differ.
        """
        student, teacher = _tasks(student, 'student'), _tasks(teacher, 'teacher')
        classes = [[task['heatmap'].shape[1] for task in head] for head in (student, teacher)]
        if classes[0] != classes[1]:
            raise ValueError(
                f'the tasks of the student have {classes[0]} classes, those of the teacher '
                f'{classes[1]}; both heads need the same tasks in the same order'
            )
        logits = torch.cat([as_float(task['heatmap']) for task in student], dim=1)
        taught = torch.cat([as_float(task['heatmap'].detach()) for task in teacher], dim=1)
        check_same_shape(logits, taught)
        loss = self.heatmap_weight * self.heatmap(
            logits, taught, data_samples=data_samples, mask=mask
        )
        if self.box_weight:
            weights = self._box_weights(taught.sigmoid(), data_samples)
            if mask is not None:
                weights = weights * mask_like(weights[:, 0], mask)[:, None]
            per_task = zip(student, teacher, weights.split(classes[0], dim=1), strict=True)
            distances, counts = zip(
                *(
                    (
                        self.box_distance(self._boxes(mine), self._boxes(theirs, detach=True)),
                        weight.amax(1),
                    )
                    for mine, theirs, weight in per_task
                ),
                strict=True,
            )
            loss = loss + self.box_weight * weighted_ratio(
                torch.stack(distances), torch.stack(counts)
            )
        return self.loss_weight * loss

    @torch.no_grad()
    def _box_weights(self, scores: Tensor, data_samples: list | None) -> Tensor:
        """Weight of each class and cell, (B, K, H, W)."""
        weights = torch.zeros_like(scores)
        if self.positions != 'peaks':
            weights = scores * self.heatmap.gaussians(scores, data_samples).eq(1)
        if self.positions != 'gt':
            is_peak = (scores == F.max_pool2d(scores, 3, stride=1, padding=1)) & (
                scores >= self.score_thr
            )
            weights = weights.maximum(scores * is_peak)
        return weights

    def _boxes(self, task: dict[str, Tensor], detach: bool = False) -> Tensor:
        """Boxes in metric form of every cell, (B, H, W, 8 or 10)."""
        maps = {
            key: as_float(value.detach() if detach else value).movedim(1, -1)
            for key, value in task.items()
            if key in (*OUTPUTS, 'vel')
        }
        offset = maps['reg']
        size = tuple(offset.shape[1:3])
        cell_m = offset.new_tensor(self.grid.cell_size_m(size))
        center = self.grid.centers_m(size, offset) + (offset - 0.5) * cell_m
        sizes = maps['dim'] if self.norm_bbox else log_size(maps['dim'])
        parts = [center, maps['height'], sizes, maps['rot']]
        return torch.cat(parts + ([maps['vel']] if 'vel' in maps else []), dim=-1)


def _tasks(outputs: Any, role: str) -> list[dict[str, Tensor]]:
    """Return the dict of each task of a head's output."""
    tasks = []
    for task in outputs if isinstance(outputs, (tuple, list)) else [None]:
        first = task[0] if isinstance(task, (tuple, list)) and len(task) == 1 else task
        if not isinstance(first, dict) or any(key not in first for key in OUTPUTS):
            raise ValueError(
                f"the {role}'s layer gives {describe(outputs)} (of {describe(first)}); link the "
                f"whole CenterHead, 'pts_bbox_head', whose tasks give maps {list(OUTPUTS)}"
            )
        tasks.append(first)
    return tasks

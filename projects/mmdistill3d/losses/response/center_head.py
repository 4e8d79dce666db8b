"""Distillation of centre heads (CenterPoint)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.classes import ClassMap
from mmdistill.connectors.checks import check_same_shape
from mmdistill.contracts import LinkLoss
from mmdistill.losses.reduce import as_float, mask_like
from mmdistill.memo import directly
from mmdistill.reading import Layer
from mmdistill.reading.address import describe
from mmdistill3d.bev import BEVGrid, constants
from mmdistill3d.classes import class_map, demand_same_number, regroup_tasks
from mmdistill3d.connectors.align import BEVAligner
from mmdistill3d.grids import TEACHER, MapGrid
from mmdistill3d.heads import LinkedHeads
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

    Where the teacher's range, axes or cells are others, its class maps are interpolated at the
    student's cells and its boxes are those of its own cell there; cells that it does not see have
    no weight. Where both models name their classes, tasks and maps are joined by name.

    Source: Yang et al., "Towards Efficient 3D Object Detection with Knowledge Distillation",
    NeurIPS 2022; the head of Yin et al., "Center-based 3D Object Detection and Tracking", CVPR
    2021.

    Takes: outputs of CenterHead, a tuple of one list of dicts a task; boxes; mask.

    Config lines::

        student=dict(layer='pts_bbox_head', clone=True), teacher='pts_bbox_head',
        loss=dict(type='CenterHeadKDLoss')

    Args:
        point_cloud_range: Range of the student's map in metres; default what the student says
            (:class:`~mmdistill3d.grids.MapGrid`).
        axes: Order of the student map's axes, likewise.
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

    needs = ('data_samples', 'mask', 'once')
    joins = 'nothing'

    def __init__(
        self,
        point_cloud_range: Sequence[float] | None = None,
        axes: str | None = None,
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
        self.heatmap = HeatmapKDLoss(**(heatmap or {}))
        self.grid = MapGrid(point_cloud_range, axes)
        self.heatmap.grid = self.grid
        self.teacher_grid = MapGrid(like=self.grid, arguments=TEACHER)
        self.heatmap_weight, self.box_weight = heatmap_weight, box_weight
        self.positions, self.score_thr = positions, score_thr
        self.box_distance = BoxDistance(box_weights, beta)
        self.norm_bbox, self.loss_weight = norm_bbox, loss_weight

        self.heads = LinkedHeads()
        self._regrouping: list[tuple[int, list[int]]] | None = None

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Read the grids, and join the classes where both models name them.

        Raises:
            ValueError: A layer is no centre head, or its maps lie where nobody says.
        """
        self.heads.bind(student, teacher, 'task_heads', "a whole CenterHead, 'pts_bbox_head'")
        for grid, layer in ((self.grid, student), (self.teacher_grid, teacher)):
            value = None if layer.value is None else _tasks(layer.value, layer.role)[0]['heatmap']
            grid.bind(replace(layer, value=value))
        self._join(student.model, teacher.model)

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Join the classes of the two models, or count them where they have no names."""
        if self._join(student, teacher) is None:
            demand_same_number(self.heads.student(student), self.heads.teacher(teacher))

    def _join(self, student: nn.Module, teacher: nn.Module) -> ClassMap | None:
        classes = class_map(student, teacher)
        self._regrouping = None
        if classes is not None and not classes.is_same:
            heads = self.heads.student(student), self.heads.teacher(teacher)
            self._regrouping = regroup_tasks(classes, *(head.num_classes for head in heads))
        return classes

    def forward(
        self,
        student: Sequence[Any],
        teacher: Sequence[Any],
        *,
        data_samples: list | None = None,
        mask: Tensor | None = None,
        once: Callable[..., Any] = directly,
    ) -> Tensor:
        """Return the loss between the outputs of two heads.

        Args:
            student: For each task a list with a dict of maps ``heatmap`` (logits), ``reg``,
                ``height``, ``dim``, ``rot`` and maybe ``vel``, each ``(B, C, H, W)``.
            teacher: The same of the teacher.
            data_samples: Samples with ``gt_instances_3d``.
            mask: Further weights ``(B, 1, H, W)``.
            once: The step's :class:`~mmdistill.memo.Memo`, in which links share what they draw.

        Raises:
            ValueError: An output is missing, or tasks, classes or sizes of the maps differ.
        """
        student, teacher = _tasks(student, 'student'), _tasks(teacher, 'teacher')
        teacher = self._in_my_tasks(teacher)
        classes = [[task['heatmap'].shape[1] for task in head] for head in (student, teacher)]
        if classes[0] != classes[1]:
            raise ValueError(
                f'the tasks of the student have {classes[0]} classes, those of the teacher '
                f'{classes[1]}; both heads need the same tasks in the same order'
            )
        logits = torch.cat([as_float(task['heatmap']) for task in student], dim=1)
        taught = torch.cat([as_float(task['heatmap'].detach()) for task in teacher], dim=1)
        aligner = self._aligner(logits, taught)
        if aligner is not None:
            taught = aligner(taught)
            if aligner.is_partial:
                seen = aligner(torch.ones_like(taught[:, :1]))
                mask = seen if mask is None else mask * seen
        check_same_shape(logits, taught)
        loss = self.heatmap_weight * self.heatmap(
            logits, taught, data_samples=data_samples, mask=mask, once=once
        )
        if self.box_weight:
            weights = self._box_weights(taught.sigmoid(), data_samples, once)
            if mask is not None:
                weights = weights * mask_like(weights[:, 0], mask)[:, None]
            weights = weights.split(classes[0], dim=1)
            loss = loss + self.box_weight * self._box_loss(student, teacher, weights, aligner)
        return self.loss_weight * loss

    def _in_my_tasks(self, teacher: list[dict]) -> list[dict]:
        """The teacher's outputs in the student's tasks and classes."""
        if self._regrouping is None:
            return teacher
        return [
            {
                **teacher[task],
                'heatmap': torch.cat([teacher[task]['heatmap'][:, k, None] for k in classes], 1),
            }
            for task, classes in self._regrouping
        ]

    def _aligner(self, student: Tensor, teacher: Tensor) -> BEVAligner | None:
        """What brings the teacher's maps to the student's cells; None where they are the same."""
        mine, theirs = self.grid(), self.teacher_grid()
        size = tuple(student.shape[2:])
        if mine.is_like(theirs) and size == tuple(teacher.shape[2:]):
            return None
        return BEVAligner(theirs, mine, size)

    def _box_loss(
        self,
        student: list[dict],
        teacher: list[dict],
        weights: Sequence[Tensor],
        aligner: BEVAligner | None,
    ) -> Tensor:
        """Mean distance of the boxes of all tasks, by the weights ``(B, K, H, W)`` of each."""
        distances, counts = [], []
        for mine, theirs, weight in zip(student, teacher, weights, strict=True):
            boxes = self._boxes(theirs, self.teacher_grid(), detach=True)
            if aligner is not None:
                boxes = _nearest(boxes, aligner, tuple(weight.shape[2:]))
            distances.append(self.box_distance(self._boxes(mine, self.grid()), boxes))
            counts.append(weight.amax(1))
        return weighted_ratio(torch.stack(distances), torch.stack(counts))

    @torch.no_grad()
    def _box_weights(
        self, scores: Tensor, data_samples: list | None, once: Callable[..., Any]
    ) -> Tensor:
        """Weight of each class and cell, (B, K, H, W)."""
        weights = torch.zeros_like(scores)
        if self.positions != 'peaks':
            weights = scores * self.heatmap.gaussians(scores, data_samples, once).eq(1)
        if self.positions != 'gt':
            is_peak = (scores == F.max_pool2d(scores, 3, stride=1, padding=1)) & (
                scores >= self.score_thr
            )
            weights = weights.maximum(scores * is_peak)
        return weights

    def _boxes(self, task: dict[str, Tensor], grid: BEVGrid, detach: bool = False) -> Tensor:
        """Boxes in metric form of every cell, (B, H, W, 8 or 10)."""
        maps = {
            key: as_float(value.detach() if detach else value).movedim(1, -1)
            for key, value in task.items()
            if key in (*OUTPUTS, 'vel')
        }
        offset = maps['reg']
        size = tuple(offset.shape[1:3])
        cell_m = constants(grid.cell_size_m(size), offset)
        center = grid.centers_m(size, offset) + (offset - 0.5) * cell_m
        sizes = maps['dim'] if self.norm_bbox else log_size(maps['dim'])
        parts = [center, maps['height'], sizes, maps['rot']]
        return torch.cat(parts + ([maps['vel']] if 'vel' in maps else []), dim=-1)


def _nearest(boxes: Tensor, aligner: BEVAligner, size: tuple[int, int]) -> Tensor:
    """The teacher's boxes ``(B, H', W', D)`` in its cell at each of the student's, (B, H, W, D)."""
    height, width = boxes.shape[1:3]
    cells = aligner.source.cells(aligner.target.centers_m(size, boxes), (height, width)).round()
    rows, columns = cells[..., 0].clamp(0, height - 1), cells[..., 1].clamp(0, width - 1)
    return boxes[:, rows.long(), columns.long()]


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

"""Masks: how much each cell of a BEV map counts in a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.contracts import Mask
from mmdistill.memo import directly
from mmdistill.reading import Layer
from mmdistill.reading.address import describe
from mmdistill3d.bev import BEVGrid
from mmdistill3d.grids import MapGrid
from mmdistill3d.instances import (
    annotated,
    are_objects,
    objects_alone,
    on_the_ground,
    predicted,
)

SOURCES = ('gt', 'teacher', 'union')
SHAPES = ('box', 'gaussian')


@MODELS.register_module()
class BoxMask(Mask):
    """Lets the cells of objects count, and those of the background little or not at all.

    In a LiDAR scene objects cover a few percent of the BEV map, so a plain mean teaches the
    background. Boxes are laid over the map in metres, rotated; a box smaller than a cell still has
    one. Overlapping boxes share a cell by the larger weight.

    Source: the foreground masks, with a weight by the box's size, of Yang et al., "Focal and Global
    Knowledge Distillation for Detectors", CVPR 2022; few positions that count, as in Yang et al.,
    "Towards Efficient 3D Object Detection with Knowledge Distillation", NeurIPS 2022.

    Config lines::

        neck=dict(
            student='pts_neck[0]', teacher='pts_neck[0]',
            mask=dict(type='BoxMask', shape='gaussian'),
            loss=dict(type='FitNetLoss'))

    Args:
        point_cloud_range: Range of the map in metres; default what the student says
            (:class:`~mmdistill3d.grids.MapGrid`).
        boxes: ``'gt'``, ``'teacher'`` (what the teacher predicts above ``score_thr``; it then runs
            to its end), or ``'union'`` of both.
        shape: ``'box'``, weight 1 inside; or ``'gaussian'``, from 1 at the centre to ``exp(-2)`` at
            the middle of the sides, and on beyond them.
        per_box: Scale each box's weights to a sum of 1, so that a truck counts as a pedestrian
            does.
        background: Least weight of every cell.
        score_thr: Score above which a teacher's box counts.
        axes: Order of the map's axes, likewise.
    """

    def __init__(
        self,
        point_cloud_range: Sequence[float] | None = None,
        boxes: str = 'gt',
        shape: str = 'box',
        per_box: bool = True,
        background: float = 0.0,
        score_thr: float = 0.3,
        axes: str | None = None,
    ) -> None:
        super().__init__()
        if boxes not in SOURCES or shape not in SHAPES:
            raise ValueError(
                f'boxes is one of {SOURCES} and shape one of {SHAPES}; got {boxes!r}, {shape!r}'
            )
        if background < 0:
            raise ValueError(f'background is a weight, not negative; got {background}')
        self.grid = MapGrid(point_cloud_range, axes)
        self.boxes, self.shape, self.per_box = boxes, shape, per_box
        self.background, self.score_thr = background, score_thr
        self.needs = (
            *(('data_samples',) if boxes in ('gt', 'union') else ()),
            *(('teacher_predictions',) if boxes in ('teacher', 'union') else ()),
            'once',
        )

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Read the grid of the student's map."""
        self.grid.bind(student)

    def forward(
        self,
        feature: Tensor,
        *,
        data_samples: list | None = None,
        teacher_predictions: list | None = None,
        once: Callable[..., Any] = directly,
    ) -> Tensor:
        """Return the weights ``(B, 1, H, W)`` of a map's cells, in float32.

        Masks of equal settings on maps of one size and place are one tensor in a step.

        Args:
            feature: The map ``(B, C, H, W)``, for its size.
            data_samples: Samples with ``gt_instances_3d.bboxes_3d``.
            teacher_predictions: Samples with ``pred_instances_3d.bboxes_3d`` and ``scores_3d``.
            once: The step's :class:`~mmdistill.memo.Memo`.

        Raises:
            ValueError: The feature is no map, or the batch has no such boxes.
        """
        if not isinstance(feature, Tensor) or feature.dim() != 4:
            raise ValueError(f'BoxMask weighs maps (B, C, H, W), got {describe(feature)}')
        boxes, scores = [], []
        if 'data_samples' in self.needs:
            instances = annotated(data_samples, len(feature))
            boxes.append([on_the_ground(item.bboxes_3d) for item in instances])
            scores.append([None] * len(feature))
        if 'teacher_predictions' in self.needs:
            for found, own in zip((boxes, scores), predicted(teacher_predictions), strict=True):
                found.append(own)
        return once(
            cell_weights,
            boxes,
            scores,
            self.score_thr,
            tuple(feature.shape[2:]),
            self.grid(),
            self.shape,
            self.per_box,
            self.background,
            feature.device,
        )


def cell_weights(
    boxes: Sequence[Sequence[Tensor]],
    scores: Sequence[Sequence[Tensor | None]],
    score_thr: float,
    size: tuple[int, int],
    grid: BEVGrid,
    shape: str,
    per_box: bool,
    background: float,
    device: torch.device,
) -> Tensor:
    """Return how much each cell of a map counts, ``(B, 1, H, W)`` in float32.

    Args:
        boxes: From each source, for each sample ``(N, 7+)``.
        scores: Their scores, ``(N,)``; ``None`` where every box counts.
        score_thr: Score above which a box counts.
        size: ``(H, W)`` cells.
        grid: What the map covers.
        shape: As of :class:`BoxMask`, and the following.
        per_box: Likewise.
        background: Likewise.
        device: Where to draw.
    """
    like = torch.empty(0, device=device, dtype=torch.float32)
    centers = grid.centers_m(size, like)
    weights = []
    for parts, part_scores in zip(zip(*boxes, strict=True), zip(*scores, strict=True), strict=True):
        every = torch.cat(
            [_counting(*part, score_thr).to(like) for part in zip(parts, part_scores, strict=True)]
        )
        weights.append(_sample_weights(every, centers, grid, shape, per_box))
    return torch.stack(weights)[:, None].clamp(min=background)


def _counting(boxes: Tensor, scores: Tensor | None, score_thr: float) -> Tensor:
    """Boxes ``(N', 7)`` that count; those annotated are not left out but moved away."""
    if scores is None:
        return objects_alone(boxes)
    return boxes[(scores > score_thr) & are_objects(boxes), :7]


def _sample_weights(
    boxes: Tensor, centers: Tensor, grid: BEVGrid, shape: str, per_box: bool
) -> Tensor:
    """Weights ``(H, W)`` of cells with centres ``(H, W, 2)`` under boxes ``(N, 7)``."""
    size = centers.shape[:2]
    if len(boxes) == 0:
        return centers.new_zeros(size)
    # Any circle of this radius holds the centre of a cell, however a box is turned.
    least = 0.5 * sum(step**2 for step in grid.cell_size_m(size)) ** 0.5
    half = (boxes[:, 3:5] / 2).clamp(min=least)
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    row, column = (0, 1) if grid.axes == 'xy' else (1, 0)
    rows = centers[:, 0, row] - boxes[:, row, None]
    columns = centers[0, :, column] - boxes[:, column, None]
    # How far ahead and to the left of a box a cell lies, in halves of the box: a term of the cell's
    # row and one of its column.
    directions = torch.stack([cos, sin], 1) / half[:, :1], torch.stack([-sin, cos], 1) / half[:, 1:]
    ahead, left = (
        (rows * by[:, row, None])[:, :, None] + (columns * by[:, column, None])[:, None]
        for by in directions
    )
    ahead, left = ahead.square_(), left.square_()
    reach = ahead.maximum(left)
    if shape == 'gaussian':
        weights = ahead.add_(left).mul_(-2).exp_().masked_fill_(reach > 2**2, 0)
    else:
        weights = (reach <= (1 + 1e-5) ** 2).to(centers.dtype)  # with rounding
    if per_box:
        # A box outside the map covers no cell.
        weights = weights.div_(weights.sum((1, 2), keepdim=True).clamp(min=1e-6))
    return weights.amax(0)

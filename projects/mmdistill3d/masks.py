"""Masks: how much each cell of a BEV map counts in a loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.contracts import Mask
from mmdistill.reading import Layer
from mmdistill.reading.address import describe
from mmdistill3d.bev import BEVGrid
from mmdistill3d.grids import MapGrid
from mmdistill3d.instances import annotated, boxes_of, predicted_boxes

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
        self.needs = tuple(
            key
            for key, sources in (
                ('data_samples', ('gt', 'union')),
                ('teacher_predictions', ('teacher', 'union')),
            )
            if boxes in sources
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
    ) -> Tensor:
        """Return the weights ``(B, 1, H, W)`` of a map's cells, in float32.

        Args:
            feature: The map ``(B, C, H, W)``, for its size.
            data_samples: Samples with ``gt_instances_3d.bboxes_3d``.
            teacher_predictions: Samples with ``pred_instances_3d.bboxes_3d`` and ``scores_3d``.

        Raises:
            ValueError: The feature is no map, or the batch has no such boxes.
        """
        if not isinstance(feature, Tensor) or feature.dim() != 4:
            raise ValueError(f'BoxMask weighs maps (B, C, H, W), got {describe(feature)}')
        found = [[] for _ in range(len(feature))]
        if 'data_samples' in self.needs:
            annotations = boxes_of(annotated(data_samples, len(feature)))
            for boxes, own in zip(found, annotations, strict=True):
                boxes.append(own)
        if 'teacher_predictions' in self.needs:
            predicted = predicted_boxes(teacher_predictions, self.score_thr)
            for boxes, own in zip(found, predicted, strict=True):
                boxes.append(own)
        size = tuple(feature.shape[2:])
        like = torch.empty(0, device=feature.device, dtype=torch.float32)
        grid = self.grid()
        centers = grid.centers_m(size, like)
        weights = [
            self._weights(torch.cat([part[:, :7].to(like) for part in parts]), centers, grid)
            for parts in found
        ]
        return torch.stack(weights)[:, None].clamp(min=self.background)

    def _weights(self, boxes: Tensor, centers: Tensor, grid: BEVGrid) -> Tensor:
        """Weights ``(H, W)`` of cells with centres ``(H, W, 2)`` under boxes ``(N, 7)``."""
        if len(boxes) == 0:
            return centers.new_zeros(centers.shape[:2])
        # Any circle of this radius holds the centre of a cell, however a box is turned.
        least = 0.5 * sum(step**2 for step in grid.cell_size_m(centers.shape[:2])) ** 0.5
        half = (boxes[:, 3:5] / 2).clamp(min=least)[:, None, None]
        offset = centers - boxes[:, None, None, :2]
        cos, sin = boxes[:, 6].cos()[:, None, None], boxes[:, 6].sin()[:, None, None]
        forward = offset[..., 0] * cos + offset[..., 1] * sin
        left = offset[..., 1] * cos - offset[..., 0] * sin
        reach = torch.stack([forward, left], dim=-1).abs() / half
        if self.shape == 'gaussian':
            weights = (-2 * reach.square().sum(-1)).exp()
            weights = torch.where(reach.amax(-1) <= 2, weights, 0)
        else:
            weights = (reach.amax(-1) <= 1 + 1e-5).to(centers.dtype)  # with rounding
        if self.per_box:
            # A box outside the map covers no cell.
            weights = weights / weights.sum((1, 2), keepdim=True).clamp(min=1e-6)
        return weights.amax(0)

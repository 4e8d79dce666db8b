"""Relational losses: how the parts of an object resemble each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.connectors.checks import check_map
from mmdistill.contracts import LinkLoss
from mmdistill.losses.items import unit
from mmdistill.losses.reduce import as_float
from mmdistill.reading import Layer
from mmdistill3d.bev import BEVGrid
from mmdistill3d.grids import TEACHER, MapGrid
from mmdistill3d.instances import annotated, are_objects, boxes_of
from mmdistill3d.roi import roi_features

RELATIONS = ('cosine', 'gram')
DISTANCES = {'l1': F.l1_loss, 'mse': F.mse_loss}


@MODELS.register_module()
class ObjectRelationLoss(LinkLoss):
    r"""The points of a box resemble each other in the student as they do in the teacher.

    Both maps are sampled at ``P = n * m`` points of each annotated box, ``f_1 .. f_P``. With the
    matrix ``A`` of their similarities, ``A_ij = <f_i, f_j> / (|f_i| |f_j|)``, the loss of a box is
    the mean of ``|A_ij^student - A_ij^teacher|`` over all pairs, and that of a batch the mean over
    its boxes, however large they are. Similarities need no connector: channels and map sizes may
    differ.

    UniDistill relates the nine points of ``expand=1.5``: corners, middles of the sides and centre.
    ``relation='gram', distance='mse'`` is TiG-BEV's inter-keypoint distillation, divided by ``P``.

    Source: Zhou et al., "UniDistill: A Universal Cross-Modality Knowledge Distillation Framework
    for 3D Object Detection in Bird's-Eye View", CVPR 2023; Huang et al., "TiG-BEV: Multi-view BEV
    3D Object Detection via Target Inner-Geometry Learning", 2022.

    Takes: BEV maps (B, C, H, W), sizes and channels may differ; annotated boxes.

    Config lines::

        neck_relation=dict(
            student='pts_neck[0]', teacher='pts_neck[0]',
            loss=dict(type='ObjectRelationLoss'))

    Args:
        point_cloud_range: Range of the student's map in metres; default what the student says
            (:class:`~mmdistill3d.grids.MapGrid`).
        size: ``(n, m)`` points along the length and the width of a box.
        expand: Factor of length and width: above 1 the points also see a rim around the object.
        relation: ``'cosine'`` as above; or ``'gram'``, the rows of ``F F^T`` scaled to unit length,
            in which points of strong features count more.
        distance: ``'l1'`` or ``'mse'`` between the matrices.
        axes: Order of the student map's axes, likewise.
        teacher_axes: The same for the teacher; default what the teacher says.
        loss_weight: Factor of the loss.
    """

    needs = ('data_samples',)
    joins = 'nothing'

    def __init__(
        self,
        point_cloud_range: Sequence[float] | None = None,
        size: tuple[int, int] = (3, 3),
        expand: float = 1.0,
        relation: str = 'cosine',
        distance: str = 'l1',
        axes: str | None = None,
        teacher_axes: str | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if relation not in RELATIONS or distance not in DISTANCES:
            raise ValueError(
                f'relation is one of {RELATIONS} and distance one of {tuple(DISTANCES)}; got '
                f'{relation!r}, {distance!r}'
            )
        if size[0] * size[1] < 2:
            raise ValueError(f'one point has no relations: size is {tuple(size)}')
        self.grid = MapGrid(point_cloud_range, axes)
        self.teacher_grid = MapGrid(axes=teacher_axes, like=self.grid, arguments=TEACHER)
        self.size, self.expand = tuple(size), expand
        self.relation, self.distance, self.loss_weight = relation, distance, loss_weight

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Read the grids of both maps."""
        self.grid.bind(student)
        self.teacher_grid.bind(teacher)

    def forward(self, student: Tensor, teacher: Tensor, *, data_samples: list | None) -> Tensor:
        """Return the loss of two maps; zero without boxes. Boxes without size do not count.

        Args:
            student: ``(B, Cs, H, W)``.
            teacher: ``(B, Ct, H', W')``.
            data_samples: Samples with ``gt_instances_3d.bboxes_3d``.

        Raises:
            ValueError: A feature is no map, or the batch has no annotations.
        """
        check_bev_maps(student, teacher)
        instances = annotated(data_samples, len(student))
        boxes = boxes_of(instances)
        mine = self._relations(student, boxes, self.grid())
        theirs = self._relations(teacher.detach(), boxes, self.teacher_grid())
        if len(mine) == 0:
            return as_float(student).sum() * 0
        counts = torch.cat([are_objects(item.bboxes_3d.tensor) for item in instances])
        counts = counts.to(mine.device)[:, None, None]
        # Boxes without size are alike on both sides, and the mean is then over the others.
        mine, theirs = (torch.where(counts, part, 0) for part in (mine, theirs.to(mine.dtype)))
        share = len(counts) / counts.sum().clamp(min=1)
        return self.loss_weight * (DISTANCES[self.distance](mine, theirs) * share)

    def _relations(self, feature: Tensor, boxes: list[Tensor], grid: BEVGrid) -> Tensor:
        """Similarities ``(sum N_i, P, P)`` of the points of each box."""
        with torch.autocast(feature.device.type, enabled=False):
            points = roi_features(feature, boxes, grid, self.size, self.expand)
            points = points.flatten(2).transpose(1, 2)
            if self.relation == 'cosine':
                points = unit(points)
                return points @ points.transpose(1, 2)
            return unit(points @ points.transpose(1, 2))


def check_bev_maps(student: Any, teacher: Any) -> None:
    """Demand two maps ``(B, C, H, W)`` of one batch; the ``ValueError`` names what was given."""
    for feature in (student, teacher):
        check_map(feature)
    if len(student) != len(teacher):
        raise ValueError(f'the student has {len(student)} samples, the teacher {len(teacher)}')

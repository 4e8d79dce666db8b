"""Distillation of class heatmaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill.classes import ClassColumns
from mmdistill.connectors.checks import check_same_shape
from mmdistill.contracts import LinkLoss
from mmdistill.losses.reduce import as_float, mask_like
from mmdistill.memo import directly
from mmdistill.reading import Layer
from mmdistill3d.classes import class_map
from mmdistill3d.gaussians import annotated_gaussians
from mmdistill3d.grids import MapGrid
from mmdistill3d.instances import annotated, on_the_ground
from mmdistill3d.losses.response.scores import (
    check_form,
    logits_of,
    score_distance,
    scores_of,
    weighted_ratio,
)

KINDS = ('logits', 'probabilities')
WEIGHTS = ('product', 'teacher', 'gt', 'mask')


@MODELS.register_module()
class HeatmapKDLoss(LinkLoss):
    r"""The student's class heatmap follows the teacher's where objects are.

    .. math:: L = \sum_i w_i\, d(p_i, t_i) \,/ \sum_i w_i, \qquad w_i = t_i\, g_i

    over samples, classes and cells ``i``, with the student's and the teacher's scores
    :math:`p, t`, the Gaussians ``g`` of the annotated boxes of each class, and ``d`` by ``form``
    (:func:`~mmdistill3d.losses.response.scores.score_distance`). A detection head's map is
    background almost everywhere; its plain mean teaches silence. A ``mask`` multiplies ``w``.

    Such weights see a class in its own objects alone, and more of a large or sure object than of a
    small or doubtful one. With ``weights='mask'`` all classes count alike, as the mask says: behind
    a :class:`~mmdistill3d.masks.BoxMask` each object as much as the next, for what it is and for
    what it is not.

    Classes are joined by name where both models tell theirs: a teacher with another order, or with
    more classes, teaches the right maps; those of classes that it does not know get no weight.

    Source: Yang et al., "Towards Efficient 3D Object Detection with Knowledge Distillation",
    NeurIPS 2022; the distance of Li et al., "Generalized Focal Loss", NeurIPS 2020.

    Takes: class maps (B, K, H, W) of one shape; boxes; mask.

    Config lines (BEVFusion; one link for each task of a ``CenterHead``, whose loss overwrites its
    logits, hence the copy)::

        student='bbox_head.heatmap_head', teacher='bbox_head.heatmap_head',
        mask=dict(type='BoxMask', shape='gaussian', background=0.00025),
        loss=dict(type='HeatmapKDLoss', weights='mask', form='kl', loss_weight=20.0)

        student=dict(layer='pts_bbox_head[1][0].heatmap', clone=True),
        teacher='pts_bbox_head[1][0].heatmap',
        loss=dict(type='HeatmapKDLoss', classes=[1, 2])

    Maps of image planes, as SMOKE's or the centre-ness of FCOS3D, have no metres::

        loss=dict(type='HeatmapKDLoss', weights='teacher', student='probabilities',
                  teacher='probabilities')

    Args:
        point_cloud_range: Range of the map in metres; default what the student says
            (:class:`~mmdistill3d.grids.MapGrid`). Needed where boxes are, see ``weights``.
        axes: Order of the map's axes, likewise.
        classes: Label of each channel; default channel ``k`` is label ``k``.
        weights: ``'product'`` :math:`t g`, ``'teacher'`` :math:`t`, ``'gt'`` :math:`g`, or
            ``'mask'`` 1. The last and ``'teacher'`` need no annotated boxes.
        background: Least weight of every cell and class.
        form: ``'quality'``, ``'kl'`` or ``'mse'``.
        student: What the student's map holds: ``'logits'`` or ``'probabilities'``.
        teacher: What the teacher's map holds.
        min_overlap: IoU that bounds the Gaussians' radius, as the head's ``gaussian_overlap``.
        min_radius: Least radius of a Gaussian in cells.
        loss_weight: Factor of the loss.
    """

    needs = ('data_samples', 'mask', 'once')

    def __init__(
        self,
        point_cloud_range: Sequence[float] | None = None,
        axes: str | None = None,
        classes: Sequence[int] | None = None,
        weights: str = 'product',
        background: float = 0.0,
        form: str = 'quality',
        student: str = 'logits',
        teacher: str = 'logits',
        min_overlap: float = 0.1,
        min_radius: int = 2,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if student not in KINDS or teacher not in KINDS:
            raise ValueError(
                f'student and teacher hold one of {KINDS}, not {student!r}, {teacher!r}'
            )
        if weights not in WEIGHTS:
            raise ValueError(f'weights is one of {WEIGHTS}, not {weights!r}')
        if background < 0:
            raise ValueError(f'background is a weight, not negative; got {background}')
        self.grid = MapGrid(point_cloud_range, axes)
        self.columns = ClassColumns()
        self.classes = None if classes is None else list(classes)
        self.weights, self.background, self.form = weights, background, check_form(form)
        self.student_kind, self.teacher_kind = student, teacher
        self.min_overlap, self.min_radius = min_overlap, min_radius
        self.loss_weight = loss_weight
        self.draws = weights in ('product', 'gt')  # Gaussians, where boxes are
        self.needs = type(self).needs if self.draws else ('mask',)

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Read the grid of the map, and the classes where both models tell them."""
        if self.draws:
            self.grid.bind(student)
        self.bind_classes(student.model, teacher.model)

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Join the classes of the two models by name.

        Raises:
            ValueError: They differ and ``classes`` numbers them.
        """
        classes = class_map(student, teacher)
        if classes is not None and self.classes is not None:
            classes.demand_same(f'HeatmapKDLoss of classes={self.classes}')
        self.columns.join(classes)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        data_samples: list | None = None,
        mask: Tensor | None = None,
        once: Callable[..., Any] = directly,
    ) -> Tensor:
        """Return the loss between two class maps.

        Args:
            student: ``(B, K, H, W)``.
            teacher: ``(B, K, H, W)``, or as many classes as the teacher has where both are named.
            data_samples: Samples with ``gt_instances_3d``.
            mask: Further weights ``(B, 1, H, W)``.
            once: The step's :class:`~mmdistill.memo.Memo`, in which links share what they draw.

        Raises:
            ValueError: The maps differ in shape or from the mask, have other channels than
                ``classes`` says, or there is no mask, or are no annotated boxes, where
                ``weights`` needs them.
        """
        if self.weights == 'mask' and mask is None:
            raise ValueError(
                "weights='mask' counts every cell as the link's mask says, and the link has none: "
                "give it mask=dict(type='BoxMask', ...)"
            )
        if self.columns.changes:
            teacher = self.columns(teacher)
        check_same_shape(student, teacher)
        if self.classes is not None and len(self.classes) != student.shape[1]:
            raise ValueError(
                f'the maps have {student.shape[1]} classes, and classes names {self.classes}'
            )
        student, teacher = as_float(student), as_float(teacher.detach())
        target = scores_of(teacher, self.teacher_kind)
        weights = self.cell_weights(target, data_samples, once)
        if mask is not None:
            weights = weights * mask_like(weights[:, 0], mask)[:, None]
        if self.columns.changes:
            weights = weights * self.columns.known(weights)[:, None, None]
        distance = score_distance(logits_of(student, self.student_kind), target, self.form)
        return self.loss_weight * weighted_ratio(distance, weights)

    @torch.no_grad()
    def cell_weights(
        self, target: Tensor, data_samples: list | None, once: Callable[..., Any] = directly
    ) -> Tensor:
        """Return the weight of each class and cell, ``(B, K, H, W)``.

        Args:
            target: The teacher's scores, ``(B, K, H, W)``.
            data_samples: Samples with ``gt_instances_3d``.
            once: As of :meth:`forward`.
        """
        if not self.draws:
            weights = target if self.weights == 'teacher' else torch.ones_like(target)
            return weights.clamp(min=self.background)
        gaussians = self.gaussians(target, data_samples, once)
        weights = gaussians * target if self.weights == 'product' else gaussians
        return weights.clamp(min=self.background)

    def gaussians(
        self, like: Tensor, data_samples: list | None, once: Callable[..., Any] = directly
    ) -> Tensor:
        """Return the Gaussians of the annotated boxes in the shape and type of ``like``.

        Args:
            like: ``(B, K, H, W)``.
            data_samples: Samples with ``gt_instances_3d``.
            once: As of :meth:`forward`.

        Raises:
            ValueError: The batch has no annotated boxes, or is another than the map's.
        """
        instances = annotated(data_samples, len(like), ", or weigh by weights='teacher' alone")
        return once(
            annotated_gaussians,
            [on_the_ground(gt.bboxes_3d) for gt in instances],
            [gt.labels_3d for gt in instances],
            range(like.shape[1]) if self.classes is None else self.classes,
            tuple(like.shape[2:]),
            self.grid(),
            self.min_overlap,
            self.min_radius,
            like.device,
        ).to(like)

"""Distillation of heads on single images (FCOS3D, PGD, SMOKE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.classes import ClassColumns
from mmdistill.contracts import LinkLoss
from mmdistill.losses.reduce import as_float
from mmdistill.reading import Layer
from mmdistill.reading.address import describe
from mmdistill3d.bev import constants
from mmdistill3d.classes import demand_same_number, join_classes
from mmdistill3d.heads import LinkedHeads
from mmdistill3d.losses.response.boxes import BoxDistance, log_size
from mmdistill3d.losses.response.scores import (
    check_form,
    logits_of,
    score_distance,
    weighted_ratio,
)


class ImageHeadLoss(LinkLoss):
    r"""Base of the losses of heads that answer in each cell of image-plane maps.

    .. math::

        L = \lambda_c \frac{\sum_{i, k} d(p_{ik}, t_{ik})}{\max(\sum_{i \in F} c_i, 1)}
          + \frac{\sum_{i \in F} c_i\, \lambda_b D(b_i, b^t_i)}{\sum_{i \in F} c_i}

    over cells ``i`` and classes ``k``, with scores ``p, t``, confidence ``c`` of the teacher and
    its foreground ``F``: the ``max_cells`` most confident cells of each image, as far as they
    reach ``score_thr``. Both models see the same image, so a cell is the same in both.

    Args:
        class_weight: :math:`\lambda_c`.
        box_weight: :math:`\lambda_b`.
        score_thr: Least confidence of the foreground.
        max_cells: Most foreground cells of an image.
        box_weights: Weights of the parts of a box.
        beta: See :class:`~mmdistill3d.losses.response.boxes.BoxDistance`.
        form: Distance of class scores: ``'quality'``, ``'kl'`` or ``'mse'``.
        loss_weight: Factor of the loss.
    """

    needs = ('student_model', 'teacher_model')
    joins = 'nothing'
    head_attribute, head_name = '', ''

    def __init__(
        self,
        class_weight: float = 1.0,
        box_weight: float = 1.0,
        score_thr: float = 0.05,
        max_cells: int = 256,
        box_weights: dict[str, float] | None = None,
        beta: float = 0.1,
        form: str = 'quality',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if max_cells < 1:
            raise ValueError(f'max_cells is at least 1, got {max_cells}')
        self.class_weight, self.box_weight, self.loss_weight = class_weight, box_weight, loss_weight
        self.score_thr, self.max_cells = score_thr, max_cells
        self.box_distance, self.form = BoxDistance(box_weights, beta), check_form(form)
        self.columns, self.heads = ClassColumns(), LinkedHeads()

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Find the heads of the two layers, and join their classes where both models name them.

        Raises:
            ValueError: A layer is no such head, the heads code boxes otherwise, or the teacher
                lacks a class.
        """
        self.heads.bind(student, teacher, self.head_attribute, f'a whole {self.head_name}')
        self._check_alike(self.heads.student(student.model), self.heads.teacher(teacher.model))
        join_classes(self.columns, student.model, teacher.model, type(self).__name__)

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Join the classes of the two models, or count them where they have no names."""
        if join_classes(self.columns, student, teacher, type(self).__name__) is None:
            demand_same_number(self.heads.student(student), self.heads.teacher(teacher))

    def forward(
        self,
        student: Sequence[list],
        teacher: Sequence[list],
        *,
        student_model: Any,
        teacher_model: Any,
    ) -> Tensor:
        """Return the loss between the outputs of two heads.

        Args:
            student: What the student's head returned, lists of one map ``(B, C, H, W)`` a level.
            teacher: The same of the teacher.
            student_model: The student, for its head.
            teacher_model: The teacher, likewise.

        Raises:
            ValueError: The heads differ in levels, sizes, classes or codes of boxes.
        """
        mine_head = self.heads.student(student_model)
        their_head = self.heads.teacher(teacher_model)
        self._check_alike(mine_head, their_head)
        logits, boxes, extra = self._read(student, mine_head, 'student')
        with torch.no_grad():
            taught, taught_boxes, taught_extra = self._read(teacher, their_head, 'teacher')
            target = self.columns(taught, dim=-1).sigmoid()
            if logits.shape != target.shape:
                raise ValueError(
                    f'scores of all cells and classes are {tuple(logits.shape)} for the student, '
                    f'{tuple(target.shape)} for the teacher; both heads need the same strides and '
                    'classes'
                )
            confidence = target.amax(-1)
            if 'centerness' in taught_extra:
                confidence = confidence * taught_extra['centerness'].sigmoid()
            confidence, cells = confidence.topk(min(self.max_cells, target.shape[1]), dim=1)
            weights = confidence * (confidence >= self.score_thr)
        classes = score_distance(logits, target, self.form).sum() / weights.sum().clamp(min=1)
        distance = self.box_distance(_rows(boxes, cells), _rows(taught_boxes, cells))
        values = self.box_weight * distance + self._further(extra, taught_extra, cells)
        return self.loss_weight * (self.class_weight * classes + weighted_ratio(values, weights))

    def _further(self, mine: dict, theirs: dict, cells: Tensor) -> Tensor | float:
        """What heads answer beside classes and boxes, compared in the foreground, ``(B, Q)``."""
        return 0.0

    def _check_alike(self, student: nn.Module, teacher: nn.Module) -> None:
        """Raise a ``ValueError`` where the codes of the two heads mean other things."""
        raise NotImplementedError

    def _read(self, outputs: Any, head: nn.Module, role: str) -> tuple[Tensor, Tensor, dict]:
        """Class logits ``(B, N, K)``, boxes in metric form ``(B, N, 8 or 10)``, and the rest."""
        raise NotImplementedError


@MODELS.register_module()
class MonoHeadKDLoss(ImageHeadLoss):
    r"""FCOS3D's and PGD's scores follow the teacher's, and its boxes in the teacher's foreground.

    Confidence is score times centre-ness, as in prediction. Boxes are compared as the heads code
    them: offset in cells, logarithm of the depth, logarithms of the sizes, heading (up to half
    turns, where a classifier knows the direction), velocity. In evaluation these heads give
    offsets in pixels and in training in cells: a plain feature loss between their outputs would
    be wrong by the stride. Direction and centre-ness are compared there, too
    (``direction_weight``, ``centerness_weight``).

    Source: Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation",
    NeurIPS 2017; the heads of Wang et al., "FCOS3D", ICCV Workshops 2021, and "Probabilistic and
    Geometric Depth", CoRL 2021.

    Takes: (class scores, box codes, directions, ..., centre-ness) of FCOSMono3DHead or PGDHead;
    models for their coders.

    Config lines::

        student='bbox_head', teacher='bbox_head', loss=dict(type='MonoHeadKDLoss')

    Args:
        direction_weight: Weight of the Kullback-Leibler divergence of direction bins.
        centerness_weight: Weight of the distance of centre-ness.
        **options: Those of :class:`ImageHeadLoss`.
    """

    head_attribute, head_name = 'centerness_on_reg', 'FCOSMono3DHead or PGDHead (bbox_head)'

    def __init__(
        self, direction_weight: float = 0.2, centerness_weight: float = 1.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.direction_weight, self.centerness_weight = direction_weight, centerness_weight

    def _check_alike(self, student: nn.Module, teacher: nn.Module) -> None:
        for name in ('strides', 'use_direction_classifier', 'dir_offset', 'pred_velo'):
            mine, theirs = getattr(student, name, None), getattr(teacher, name, None)
            if mine != theirs:
                raise ValueError(
                    f'{name} is {mine} in the student and {theirs} in the teacher; make them equal'
                )

    def _read(self, outputs: Any, head: nn.Module, role: str) -> tuple[Tensor, Tensor, dict]:
        if not isinstance(outputs, (tuple, list)) or len(outputs) < 5:
            raise ValueError(
                f"the {role}'s layer gives {describe(outputs)}; link a whole {self.head_name}"
            )
        codes = []
        for level, stride in zip(outputs[1], head.strides, strict=True):
            code = _cells(level)
            # Only where it is not training has the coder multiplied by the stride.
            scale = 1 if head.training else 1 / stride
            codes.append(torch.cat([code[..., :2] * scale, code[..., 2:9]], dim=-1))
        code = torch.cat(codes, dim=1)
        depth = code[..., 2:3].clamp(min=1e-3).log()
        yaw = code[..., 6:7] * (2 if head.use_direction_classifier else 1)
        parts = [code[..., :2], depth, log_size(code[..., 3:6]), yaw.sin(), yaw.cos()]
        if head.pred_velo:
            parts.append(code[..., 7:9])
        extra = {'centerness': _levels(outputs[-1])[..., 0]}
        if head.use_direction_classifier:
            extra['direction'] = _levels(outputs[2])
        return _levels(outputs[0]), torch.cat(parts, dim=-1), extra

    def _further(self, mine: dict, theirs: dict, cells: Tensor) -> Tensor:
        own, target = mine['centerness'].gather(1, cells), theirs['centerness'].gather(1, cells)
        values = self.centerness_weight * score_distance(own, target.sigmoid(), self.form)
        if 'direction' in mine:
            values = values + self.direction_weight * F.kl_div(
                _rows(mine['direction'], cells).log_softmax(-1),
                _rows(theirs['direction'], cells).log_softmax(-1),
                reduction='none',
                log_target=True,
            ).sum(-1)
        return values


@MODELS.register_module()
class SMOKEHeadKDLoss(ImageHeadLoss):
    """SMOKE's heatmap follows the teacher's, and its boxes in the teacher's foreground.

    Boxes are compared as offsets in cells, depth in metres, logarithms of the sizes, and heading
    towards the camera's ray. Cells that are no local peak of the teacher's heatmap have little
    confidence, and count by it.

    Source: Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation",
    NeurIPS 2017; the head of Liu et al., "SMOKE", CVPR Workshops 2020.

    Takes: (class scores, box codes) of SMOKEMono3DHead; models for their coders.

    Config lines::

        student='bbox_head', teacher='bbox_head', loss=dict(type='SMOKEHeadKDLoss')

    Args:
        **options: Those of :class:`ImageHeadLoss`.
    """

    head_attribute, head_name = 'ori_channel', 'SMOKEMono3DHead (bbox_head)'

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def _check_alike(self, student: nn.Module, teacher: nn.Module) -> None:
        for name in ('base_depth', 'base_dims', 'bbox_code_size'):
            mine, theirs = (getattr(head.bbox_coder, name) for head in (student, teacher))
            if mine != theirs:
                raise ValueError(
                    f'{name} of the box coder is {mine} in the student and {theirs} in the '
                    'teacher; make them equal'
                )
        if (student.dim_channel, student.ori_channel) != (teacher.dim_channel, teacher.ori_channel):
            raise ValueError('dim_channel and ori_channel differ in the two heads; make them equal')

    def _read(self, outputs: Any, head: nn.Module, role: str) -> tuple[Tensor, Tensor, dict]:
        if not isinstance(outputs, (tuple, list)) or len(outputs) != 2:
            raise ValueError(
                f"the {role}'s layer gives {describe(outputs)}; link a whole {self.head_name}"
            )
        code = _levels(outputs[1])
        depth = code[..., :1] * constants(head.bbox_coder.base_depth[1:], code)
        columns = torch.stack(
            [code[..., column] for column in (*head.dim_channel, *head.ori_channel)], dim=-1
        )
        parts = [code[..., 1:3], depth, columns]
        return logits_of(_levels(outputs[0]), 'probabilities'), torch.cat(parts, dim=-1), {}


def _levels(maps: Sequence[Tensor]) -> Tensor:
    """Maps ``(B, C, H, W)`` of all levels as ``(B, N, C)``."""
    return torch.cat([_cells(level) for level in maps], dim=1)


def _cells(level: Tensor) -> Tensor:
    return as_float(level).flatten(2).transpose(1, 2)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows (B, Q, C) of (B, N, C) at ``index`` (B, Q)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))

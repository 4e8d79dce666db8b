"""Distillation of anchor heads (PointPillars, SECOND, SSN)."""

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
from mmdistill3d.classes import demand_same_number, join_classes
from mmdistill3d.heads import LinkedHeads
from mmdistill3d.losses.response.boxes import BoxDistance, log_size
from mmdistill3d.losses.response.scores import check_form, score_distance, weighted_ratio


@MODELS.register_module()
class AnchorHeadKDLoss(LinkLoss):
    r"""An anchor head's scores follow the teacher's, and its boxes at the teacher's foreground.

    .. math::

        L = \lambda_c \frac{\sum_{a, k} d(p_{ak}, t_{ak})}{\max(\sum_{a \in F} c_a, 1)}
          + \frac{\sum_{a \in F} c_a (\lambda_b D(b_a, b^t_a) + \lambda_d K(o_a, o^t_a))}
                 {\sum_{a \in F} c_a}

    over anchors ``a`` and classes ``k``, with sigmoid scores ``p, t``, confidence
    :math:`c_a = \max_k t_{ak}` and foreground ``F``: the ``max_anchors`` anchors of highest
    confidence in each frame, as far as they reach ``score_thr``. ``d`` is ``form``'s distance
    (:func:`~mmdistill3d.losses.response.scores.score_distance`), ``D`` that of the boxes that
    both heads' coders give, in metres
    (:class:`~mmdistill3d.losses.response.boxes.BoxDistance`), ``K`` the Kullback-Leibler
    divergence of the direction bins. Where a head has direction bins its yaw is known up to half
    turns alone, and the heading's components are those of twice the yaw.

    The heads are those of the linked layers, a two-stage detector's region proposals (``rpn_head``)
    as well. Where both models name their classes, scores are joined by name; the anchors must be
    the same all the same.

    Source: Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation",
    NeurIPS 2017; the heads of Lang et al., "PointPillars", CVPR 2019.

    Takes: (class scores, box codes, direction bins) of Anchor3DHead; models for anchors and coders.

    Config lines::

        student='pts_bbox_head', teacher='pts_bbox_head',
        loss=dict(type='AnchorHeadKDLoss', loss_weight=0.5)

    Args:
        class_weight: :math:`\lambda_c`.
        box_weight: :math:`\lambda_b`.
        direction_weight: :math:`\lambda_d`.
        score_thr: Least confidence of a foreground anchor.
        max_anchors: Most foreground anchors of a frame.
        box_weights: Weights of the parts of a box.
        beta: See :class:`~mmdistill3d.losses.response.boxes.BoxDistance`.
        form: Distance of class scores: ``'quality'``, ``'kl'`` or ``'mse'``.
        loss_weight: Factor of the loss.
    """

    needs = ('student_model', 'teacher_model')
    joins = 'nothing'

    def __init__(
        self,
        class_weight: float = 1.0,
        box_weight: float = 1.0,
        direction_weight: float = 0.2,
        score_thr: float = 0.1,
        max_anchors: int = 512,
        box_weights: dict[str, float] | None = None,
        beta: float = 0.1,
        form: str = 'quality',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if max_anchors < 1:
            raise ValueError(f'max_anchors is at least 1, got {max_anchors}')
        self.class_weight, self.box_weight = class_weight, box_weight
        self.direction_weight, self.loss_weight = direction_weight, loss_weight
        self.score_thr, self.max_anchors = score_thr, max_anchors
        self.box_distance = BoxDistance(box_weights, beta)
        self.form = check_form(form)
        # Anchors by size of the maps and device, once they are known to be the same on both sides.
        self._anchors: dict[tuple, Tensor] = {}
        self.columns = ClassColumns()
        self.heads = LinkedHeads()

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Find the heads of the two layers, and join their classes where both models name them.

        Raises:
            ValueError: A layer is no anchor head, or the teacher lacks a class.
        """
        what = 'a whole Anchor3DHead, such as bbox_head, pts_bbox_head or rpn_head'
        self.heads.bind(student, teacher, 'prior_generator', what)
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
            student: ``(cls_scores, bbox_preds, dir_cls_preds)``, each a list of maps
                ``(B, A * C, H, W)``, one a level, or of ``(B, N, C)`` as SSN gives them;
                ``dir_cls_preds`` a list of None for heads without direction bins.
            teacher: The same of the teacher.
            student_model: The student, for its head's anchors and box coder.
            teacher_model: The teacher, likewise.

        Raises:
            ValueError: The heads differ in anchors, classes or direction bins, or do not score by
                sigmoid.
        """
        mine_head = self.heads.student(student_model)
        their_head = self.heads.teacher(teacher_model)
        mine = _by_anchor(student, mine_head, 'student')
        theirs = [
            None if part is None else part.detach()
            for part in _by_anchor(teacher, their_head, 'teacher')
        ]
        theirs[0] = self.columns(theirs[0], dim=-1)
        _check_alike(mine, theirs, mine_head, their_head)
        anchors = self._shared_anchors(student, teacher, mine_head, their_head)

        logits, target = mine[0], theirs[0].sigmoid()
        confidence, foreground = target.amax(-1).topk(min(self.max_anchors, target.shape[1]), dim=1)
        weights = confidence * (confidence >= self.score_thr)
        classes = score_distance(logits, target, self.form).sum() / weights.sum().clamp(min=1)
        rows = anchors.to(logits)[foreground]
        boxes = self.box_distance(
            _boxes(mine, foreground, rows, mine_head), _boxes(theirs, foreground, rows, their_head)
        )
        values = self.box_weight * boxes
        if mine[2] is not None:
            values = values + self.direction_weight * F.kl_div(
                _rows(mine[2], foreground).log_softmax(-1),
                _rows(theirs[2], foreground).log_softmax(-1),
                reduction='none',
                log_target=True,
            ).sum(-1)
        return self.loss_weight * (self.class_weight * classes + weighted_ratio(values, weights))

    def _shared_anchors(
        self, student: Sequence[list], teacher: Sequence[list], mine: nn.Module, theirs: nn.Module
    ) -> Tensor:
        """Anchors of both heads, (N, 7+); compared when a size of maps is first seen."""
        device = student[0][0].device
        key = (_map_sizes(student, mine), device)
        if key not in self._anchors:
            # Made and compared on the CPU, so that the device need not tell the result.
            first = _grid_anchors(mine, _map_sizes(student, mine))
            second = _grid_anchors(theirs, _map_sizes(teacher, theirs))
            if first.shape != second.shape or not torch.allclose(first, second, atol=1e-4):
                mine_name, their_name = (
                    ' '.join(str(head.prior_generator).split()) for head in (mine, theirs)
                )
                raise ValueError(
                    'anchor heads are compared anchor by anchor, and theirs differ: the student '
                    f'has {tuple(first.shape)} from {mine_name}, the teacher '
                    f'{tuple(second.shape)} from {their_name}; give both the same '
                    'anchor_generator and maps of the same size'
                )
            self._anchors[key] = first.to(device, non_blocking=True)
        return self._anchors[key]


def _by_anchor(outputs: Any, head: nn.Module, role: str) -> list[Tensor | None]:
    """Class logits (B, N, K), box codes (B, N, C) and direction logits (B, N, 2) or None."""
    if not isinstance(outputs, (tuple, list)) or len(outputs) != 3:
        raise ValueError(
            f"the {role}'s layer gives {describe(outputs)}; link a whole Anchor3DHead, whose "
            'output is (cls_scores, bbox_preds, dir_cls_preds)'
        )
    if not head.use_sigmoid_cls:
        raise ValueError(
            f"the {role}'s head scores its classes by softmax; AnchorHeadKDLoss compares sigmoid "
            'scores (loss_cls with use_sigmoid=True)'
        )
    columns = (head.num_classes, head.box_code_size, 2)
    return [
        None
        if any(level is None for level in levels)
        else torch.cat([_flat(as_float(level), number) for level in levels], dim=1)
        for levels, number in zip(outputs, columns, strict=True)
    ]


def _flat(level: Tensor, columns: int) -> Tensor:
    """(B, A * columns, H, W) to (B, H * W * A, columns); (B, N, columns) stays."""
    if level.dim() == 4:
        level = level.permute(0, 2, 3, 1)
    return level.reshape(len(level), -1, columns)


def _check_alike(
    mine: list[Tensor | None], theirs: list[Tensor | None], head: nn.Module, other: nn.Module
) -> None:
    shapes = [[None if part is None else tuple(part.shape) for part in x] for x in (mine, theirs)]
    if shapes[0][0] != shapes[1][0] or shapes[0][2] != shapes[1][2]:
        raise ValueError(
            f'scores and direction bins of all anchors are {shapes[0][0]} and {shapes[0][2]} for '
            f'the student, {shapes[1][0]} and {shapes[1][2]} for the teacher; both heads need the '
            'same anchors, classes and use_direction_classifier'
        )
    offsets = [(h.dir_offset, h.dir_limit_offset) for h in (head, other)]
    if mine[2] is not None and offsets[0] != offsets[1]:
        raise ValueError(
            f'direction bins begin at (dir_offset, dir_limit_offset) = {offsets[0]} for the '
            f'student and {offsets[1]} for the teacher; make them equal'
        )


def _boxes(parts: list[Tensor | None], index: Tensor, anchors: Tensor, head: nn.Module) -> Tensor:
    """Boxes in metric form at ``index`` (B, Q), (B, Q, 8 or 10)."""
    boxes = head.bbox_coder.decode(anchors, _rows(parts[1], index))
    size = boxes[..., 3:6]
    center = torch.cat([boxes[..., :2], boxes[..., 2:3] + size[..., 2:] / 2], dim=-1)
    yaw = boxes[..., 6:7] * (1 if parts[2] is None else 2)
    return torch.cat([center, log_size(size), yaw.sin(), yaw.cos(), boxes[..., 7:9]], dim=-1)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows (B, Q, C) of (B, N, C) at ``index`` (B, Q)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def _map_sizes(outputs: Sequence[list], head: nn.Module) -> tuple[tuple[int, int], ...]:
    """Sizes that the head's anchors are laid over: of each level, or of each class in SSN."""
    sizes = getattr(head, 'featmap_sizes', None) or [level.shape[-2:] for level in outputs[0]]
    return tuple(tuple(size) for size in sizes)


def _grid_anchors(head: nn.Module, sizes: tuple) -> Tensor:
    levels = head.prior_generator.grid_anchors(list(sizes), device='cpu')
    parts = [part for level in levels for part in (level if isinstance(level, list) else [level])]
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])

"""Distillation of TransFusion's object queries."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill.contracts import LinkLoss
from mmdistill.losses.reduce import as_float
from mmdistill.reading import Layer
from mmdistill3d.bev import constants
from mmdistill3d.losses.response.boxes import BoxDistance
from mmdistill3d.losses.response.scores import check_form, score_distance, weighted_ratio
from mmdistill3d.queries import Queries, QueryMatcher, cell_metres, range_start, take_queries


@MODELS.register_module()
class TransFusionKDLoss(LinkLoss):
    r"""Each confident query of the teacher teaches the student's query of the same object.

    Queries are peaks of a heatmap in the order of their scores: the same index means nothing.
    They are matched one to one by the Hungarian algorithm, which minimises

    .. math:: \sum_{t} c_t\, (\lambda_c |p_{s(t)} - p_t|_1 + \lambda_d \min(d_{s(t), t}, d_{max}))

    with class probabilities ``p``, BEV distance ``d`` of the decoded centres and the teacher's
    confidence ``c`` (the score that it would put on the box). Over the pairs nearer than
    :math:`d_{max}` whose numbers are finite, the loss is the mean of the class distances, with
    weights :math:`\max(c, b)`, and that of the box distances, with weights ``c``
    (:class:`~mmdistill3d.losses.response.boxes.BoxDistance`). The ``background`` :math:`b` lets
    queries about nothing teach what is no object; without it sure ones alone teach, and the
    student's scores rise everywhere. With ``heatmap_weight``, the student's dense heatmap is read,
    too, in the cell of every teacher query's decoded centre, and drawn to the teacher's score of
    the peak where that query began: so it also learns of objects to which it sent no query.

    Each side's queries are read in metres of its own range and cells. Where the ranges differ,
    queries outside the student's count nothing. Classes are joined by name where both models tell
    theirs; queries of classes that the student has not count nothing, either.

    Nothing in the student's or teacher's outputs is changed. Matching waits for the device once a
    step, as label assignment does.

    Source: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020 (matching);
    Chang et al., "DETRDistill", ICCV 2023; Bai et al., "TransFusion", CVPR 2022 (the head).

    Takes: raw outputs of TransFusionHead, as dicts; models for their coders.

    Config lines::

        student='bbox_head[0][0]', teacher='bbox_head[0][0]',
        loss=dict(type='TransFusionKDLoss', heatmap_weight=1.0, loss_weight=0.5)

    Args:
        class_weight: Weight of the class distance.
        box_weight: Weight of the box distance.
        background: Least weight :math:`b` of a pair in the class distance.
        heatmap_weight: Weight of the reading of the dense heatmap; 0 leaves it out.
        box_weights: Weights of the parts of a box.
        beta: See :class:`~mmdistill3d.losses.response.boxes.BoxDistance`.
        form: Distance of class scores: ``'kl'``, ``'quality'`` or ``'mse'``. Matched queries are
            foreground already: nothing is to be gained by making sure ones count for less.
        class_cost: :math:`\lambda_c`.
        distance_cost: :math:`\lambda_d`, per metre.
        max_distance: :math:`d_{max}` in metres.
        num_queries: Take this many of the teacher's queries, the most confident; default all, but
            never more than the student has.
        student_coder: ``pc_range``, ``voxel_size`` and ``out_size_factor`` of the student;
            default those of its head's ``bbox_coder``.
        teacher_coder: The same of the teacher.
        loss_weight: Factor of the loss.
    """

    needs = ('student_model', 'teacher_model')
    joins = 'nothing'

    def __init__(
        self,
        class_weight: float = 1.0,
        box_weight: float = 1.0,
        background: float = 0.0,
        heatmap_weight: float = 0.0,
        box_weights: dict[str, float] | None = None,
        beta: float = 0.1,
        form: str = 'kl',
        class_cost: float = 1.0,
        distance_cost: float = 1.0,
        max_distance: float = 4.0,
        num_queries: int | None = None,
        student_coder: dict | None = None,
        teacher_coder: dict | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.matcher = QueryMatcher(
            class_cost, distance_cost, max_distance, num_queries, student_coder, teacher_coder
        )
        self.columns = self.matcher.columns  # moves with the loss
        if background < 0:
            raise ValueError(f'background is a weight, not negative; got {background}')
        self.class_weight, self.box_weight = class_weight, box_weight
        self.background, self.heatmap_weight = background, heatmap_weight
        self.loss_weight = loss_weight
        self.box_distance = BoxDistance(box_weights, beta)
        self.form = check_form(form)

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Find the heads, compare the ranges, and join the classes where both models name them.

        Raises:
            ValueError: A layer is no TransFusion head, a given coder belongs to another range, or
                the teacher lacks a class.
        """
        self.matcher.bind(student, teacher, type(self).__name__)

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Join the classes of the two models, or count them where they have no names."""
        self.matcher.bind_classes(student, teacher, type(self).__name__)

    def forward(
        self,
        student: dict[str, Tensor],
        teacher: dict[str, Tensor],
        *,
        student_model: Any = None,
        teacher_model: Any = None,
    ) -> Tensor:
        """Return the loss between the raw outputs of two heads.

        Args:
            student: Outputs of the student's head, as :class:`bevfusion.TransFusionHead` gives
                them; of several decoder layers the last is taken.
            teacher: Outputs of the teacher's head.
            student_model: The student, for its coder.
            teacher_model: The teacher, for its coder.

        Raises:
            ValueError: An output is missing, the heads have other classes, or there is no coder.
        """
        matched = self.matcher(student, teacher, student_model, teacher_model)
        mine, theirs, pairs = matched.student, matched.teacher, matched.pairs
        values = [
            take_queries(mine.logits, pairs),
            take_queries(mine.boxes, pairs),
            theirs.logits,
            theirs.boxes,
        ]
        # The confidence is 0 where the student cannot see or name the object.
        near = (matched.distance < self.matcher.max_distance) & (theirs.confidence > 0)
        # Also backwards a diverged query costs nothing: not its value alone is replaced.
        near = near & torch.stack([part.isfinite().all(-1) for part in values]).all(0)
        values = [torch.where(near[..., None], part, 0) for part in values]
        classes = score_distance(values[0], values[2].sigmoid(), self.form).sum(-1)
        boxes = self.box_distance(values[1], values[3])
        sure, any_query = (
            torch.where(near, theirs.confidence.clamp(min=least), 0)
            for least in (0.0, self.background)
        )
        classes = self.class_weight * weighted_ratio(classes, any_query)
        loss = classes + self.box_weight * weighted_ratio(boxes, sure)
        if self.heatmap_weight:
            loss = loss + self.heatmap_weight * self._heatmap(
                student, matched.student_coder, theirs
            )
        return self.loss_weight * loss

    def _heatmap(self, student: dict[str, Tensor], coder: dict, theirs: Queries) -> Tensor:
        """Return the distance of the student's heatmap from the teacher's score at its queries."""
        logits = as_float(student['dense_heatmap'])
        size = logits.shape[2:]
        cells = (
            (theirs.boxes[..., :2] - range_start(coder, logits)) / cell_metres(coder, logits)
        ).floor()
        limits = constants(size, cells)
        inside = ((cells >= 0) & (cells < limits)).all(-1)
        cells = cells.nan_to_num().clamp(min=torch.zeros_like(limits), max=limits - 1).long()
        flat = (theirs.labels * size[0] + cells[..., 0]) * size[1] + cells[..., 1]
        read = logits.flatten(1).gather(1, flat)
        return weighted_ratio(
            score_distance(read, theirs.peak, self.form), torch.where(inside, theirs.confidence, 0)
        )

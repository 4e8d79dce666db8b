"""Distillation of second stages (PV-RCNN, Part-A2, PointRCNN)."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.contracts import LinkLoss
from mmdistill.losses.reduce import as_float
from mmdistill.reading import Layer, MethodCall
from mmdistill.reading.address import describe, find_module
from mmdistill3d.losses.response.scores import check_form, score_distance, weighted_ratio

SCORES, CODES = ('cls_score', 'bbox_scores'), ('bbox_pred', 'bbox_reg')


@MODELS.register_module()
class RoIHeadKDLoss(LinkLoss):
    r"""A second stage follows the teacher's, which looks at the student's proposals.

    The proposals of two models have nothing to do with each other, so the teacher's RoI head runs
    once more, on its own features and the student's proposals ``i``. The student's loss turns its
    proposals in place: link a copy, as below.

    .. math::

        L = \lambda_c\, \mathrm{mean}_i\, d(p_i, t_i)
          + \lambda_b \frac{\sum_i t_i\, h(b_i - b^t_i)}{\sum_i t_i}

    where :math:`p, t` are sigmoid scores, ``b`` codes of boxes relative to their proposal, and
    ``h`` is the smooth L1 distance, summed over the code.

    Source: Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation",
    NeurIPS 2017; the heads of Shi et al., "PV-RCNN", CVPR 2020, "Part-A2", TPAMI 2020, and
    "PointRCNN", CVPR 2019.

    Takes: calls of the RoI heads' ``_bbox_forward``; the teacher.

    Config lines::

        student=dict(type='MethodCall', layer='roi_head', method='_bbox_forward', clone=True),
        teacher=dict(type='MethodCall', layer='roi_head', method='_bbox_forward'),
        loss=dict(type='RoIHeadKDLoss')

    Args:
        class_weight: :math:`\lambda_c`.
        box_weight: :math:`\lambda_b`.
        beta: Below this difference ``h`` is quadratic.
        form: Distance of scores: ``'kl'``, ``'quality'`` or ``'mse'``.
        loss_weight: Factor of the loss.
    """

    needs = ('teacher_model',)
    joins = 'nothing'

    def __init__(
        self,
        class_weight: float = 1.0,
        box_weight: float = 1.0,
        beta: float = 0.1,
        form: str = 'kl',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.class_weight, self.box_weight, self.loss_weight = class_weight, box_weight, loss_weight
        self.beta, self.form = beta, check_form(form)
        self._path, self._method = 'roi_head', '_bbox_forward'

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Find the teacher's RoI head.

        Raises:
            ValueError: The layers are no calls of RoI heads of one kind.
        """
        heads = []
        for layer in (student, teacher):
            if not isinstance(layer.recorder, MethodCall):
                raise ValueError(
                    f"{layer} is no call of a RoI head; link dict(type='MethodCall', "
                    "layer='roi_head', method='_bbox_forward') on both sides"
                )
            heads.append(find_module(layer.model, layer.recorder.layer, layer.role))
        if type(heads[0]) is not type(heads[1]):
            raise ValueError(
                f'the student has a {type(heads[0]).__name__}, the teacher a '
                f'{type(heads[1]).__name__}; proposals of one kind of head fit no other'
            )
        self._path, self._method = teacher.recorder.layer, teacher.recorder.method

    def forward(
        self, student: dict[str, Any], teacher: dict[str, Any], *, teacher_model: nn.Module
    ) -> Tensor:
        """Return the loss between what two heads answer to the student's proposals.

        Args:
            student: ``arguments`` of the student's call, among them ``rois`` ``(N, 8)``, and its
                ``result``, a dict of scores ``(N, K)`` and codes ``(N, C)``.
            teacher: The same of the teacher.
            teacher_model: The teacher, for its head.

        Raises:
            ValueError: There are no proposals, or the answers differ in shape.
        """
        mine = _answers(student.get('result'), 'student')
        rois = student['arguments'].get('rois')
        if not isinstance(rois, Tensor):
            raise ValueError(f"the student's head got {describe(student['arguments'])}, no rois")
        head = find_module(teacher_model, self._path, 'teacher')
        with torch.no_grad():
            given = {**teacher['arguments'], 'rois': rois.detach()}
            theirs = _answers(getattr(head, self._method)(**given), 'teacher')
        if any(a.shape != b.shape for a, b in zip(mine, theirs, strict=True)):
            raise ValueError(
                f'scores and codes of the student are {[tuple(a.shape) for a in mine]}, those of '
                f'the teacher {[tuple(b.shape) for b in theirs]}; both heads need the same classes'
            )
        target = theirs[0].sigmoid()
        classes = score_distance(mine[0], target, self.form).sum(-1).mean()
        distance = F.smooth_l1_loss(mine[1], theirs[1], reduction='none', beta=self.beta).sum(-1)
        boxes = weighted_ratio(distance, target.amax(-1))
        return self.loss_weight * (self.class_weight * classes + self.box_weight * boxes)


def _answers(result: Any, role: str) -> tuple[Tensor, Tensor]:
    """Scores ``(N, K)`` and codes ``(N, C)`` of a head's answer."""
    found = [
        next((result[key] for key in keys if isinstance(result, dict) and key in result), None)
        for keys in (SCORES, CODES)
    ]
    if any(value is None for value in found):
        raise ValueError(
            f"the {role}'s head answers {describe(result)}, without one of {SCORES} and of {CODES}"
        )
    scores, codes = (as_float(value).flatten(1) for value in found)
    return scores, codes

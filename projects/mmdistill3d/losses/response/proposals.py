"""Distillation of heads that propose boxes from points (VoteNet, 3DSSD, GroupFree3D)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import MODELS
from scipy.optimize import linear_sum_assignment
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
class ProposalKDLoss(LinkLoss):
    r"""Proposals follow those of the teacher's that lie nearest, never those of the same number.

    Two models propose boxes from points that each sampled for itself, by its own votes or
    features, so the teacher's ``num_proposals`` most confident boxes are matched to the student's
    one to one by the distance of their centres (in metres, at most ``max_distance``):

    .. math::

        L = \frac{\sum_j c_j\, (\lambda_o d(o_{\pi(j)}, o^t_j) + \lambda_c K(s_{\pi(j)}, s^t_j)
                 + \lambda_b D(b_{\pi(j)}, b^t_j))}{\sum_j c_j}

    over the teacher's proposals ``j`` of confidence ``c`` whose match :math:`\pi(j)` is nearer than
    ``max_distance``, with objectness ``o``, classes ``s`` by the Kullback-Leibler divergence, and
    boxes in metres (:class:`~mmdistill3d.losses.response.boxes.BoxDistance`).

    Matching waits for the device once a step, as label assignment does.

    Source: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020 (matching);
    the heads of Qi et al., "VoteNet", ICCV 2019; Yang et al., "3DSSD", CVPR 2020; Liu et al.,
    "Group-Free 3D Object Detection via Transformers", ICCV 2021.

    Takes: outputs of VoteHead, SSD3DHead or GroupFree3DHead, dicts; models for their coders.

    Config lines::

        student='bbox_head', teacher='bbox_head', loss=dict(type='ProposalKDLoss')

    Args:
        objectness_weight: :math:`\lambda_o`.
        class_weight: :math:`\lambda_c`; 3DSSD's classes are its objectness.
        box_weight: :math:`\lambda_b`.
        num_proposals: How many of the teacher's proposals count, the most confident ones.
        max_distance: In metres; a proposal without a match so near counts nothing.
        box_weights: Weights of the parts of a box.
        beta: See :class:`~mmdistill3d.losses.response.boxes.BoxDistance`.
        form: Distance of objectness: ``'kl'``, ``'quality'`` or ``'mse'``.
        loss_weight: Factor of the loss.
    """

    needs = ('student_model', 'teacher_model')
    joins = 'nothing'

    def __init__(
        self,
        objectness_weight: float = 1.0,
        class_weight: float = 1.0,
        box_weight: float = 1.0,
        num_proposals: int = 128,
        max_distance: float = 1.0,
        box_weights: dict[str, float] | None = None,
        beta: float = 0.1,
        form: str = 'kl',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if num_proposals < 1 or max_distance <= 0:
            raise ValueError(
                f'num_proposals is at least 1 and max_distance positive, in metres; got '
                f'{num_proposals} and {max_distance}'
            )
        self.objectness_weight, self.class_weight = objectness_weight, class_weight
        self.box_weight, self.loss_weight = box_weight, loss_weight
        self.num_proposals, self.max_distance = num_proposals, max_distance
        self.box_distance, self.form = BoxDistance(box_weights, beta), check_form(form)
        self.columns, self.heads = ClassColumns(), LinkedHeads()

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Find the heads of the two layers, and join their classes where both models name them.

        Raises:
            ValueError: A layer is no such head, or the teacher lacks a class.
        """
        what = 'a whole VoteHead, SSD3DHead or GroupFree3DHead, such as bbox_head'
        self.heads.bind(student, teacher, 'bbox_coder', what)
        join_classes(self.columns, student.model, teacher.model, type(self).__name__)

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Join the classes of the two models, or count them where they have no names."""
        if join_classes(self.columns, student, teacher, type(self).__name__) is None:
            demand_same_number(self.heads.student(student), self.heads.teacher(teacher))

    def forward(
        self,
        student: dict[str, Tensor],
        teacher: dict[str, Tensor],
        *,
        student_model: Any,
        teacher_model: Any,
    ) -> Tensor:
        """Return the loss between the outputs of two heads.

        Args:
            student: What the student's head returned; of several decoder layers the last counts.
            teacher: The same of the teacher.
            student_model: The student, for its head's box coder.
            teacher_model: The teacher, likewise.

        Raises:
            ValueError: An output is missing, or the heads have other classes.
        """
        mine = read_proposals(student, self.heads.student(student_model), 'student')
        with torch.no_grad():
            theirs = read_proposals(teacher, self.heads.teacher(teacher_model), 'teacher')
            taught = self.columns(theirs.classes, dim=-1)
            if mine.classes.shape[-1] != taught.shape[-1]:
                raise ValueError(
                    f'the student has {mine.classes.shape[-1]} classes and the teacher '
                    f'{taught.shape[-1]}; both need one list of classes in one order'
                )
            number = min(self.num_proposals, theirs.confidence.shape[1], mine.boxes.shape[1])
            confidence, chosen = theirs.confidence.topk(number, dim=1)
            target, boxes = _rows(taught, chosen), _rows(theirs.boxes, chosen)
            objectness = theirs.objectness.gather(1, chosen).sigmoid()
            pairs, distance = self._match(mine.boxes[..., :3], boxes[..., :3], confidence)
            weights = confidence * (distance < self.max_distance)
        values = self.objectness_weight * score_distance(
            mine.objectness.gather(1, pairs), objectness, self.form
        )
        values = values + self.box_weight * self.box_distance(_rows(mine.boxes, pairs), boxes)
        own = _rows(mine.classes, pairs)
        if mine.are_exclusive:
            classes = F.kl_div(
                own.log_softmax(-1), target.log_softmax(-1), reduction='none', log_target=True
            )
        else:
            classes = score_distance(own, target.sigmoid(), self.form)
        values = values + self.class_weight * classes.sum(-1)
        return self.loss_weight * weighted_ratio(values, weights)

    def _match(self, mine: Tensor, theirs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The student's proposal for each of the teacher's, (B, Q), and their distance (m)."""
        distance = torch.cdist(theirs, mine, compute_mode='donot_use_mm_for_euclid_dist')
        # Where several must take what others leave, the confident go first.
        cost = weight[..., None] * distance.clamp(max=self.max_distance)
        cost = torch.nan_to_num(cost, nan=1e4, posinf=1e4)
        matched = [linear_sum_assignment(sample)[1] for sample in cost.cpu().numpy()]
        pairs = torch.stack([torch.from_numpy(columns) for columns in matched])
        pairs = pairs.to(distance.device, torch.long, non_blocking=True)
        return pairs, distance.gather(2, pairs[..., None]).squeeze(2)


@dataclass
class Proposals:
    """Boxes that a head proposes in a batch; P of each sample.

    Attributes:
        objectness: Logits, ``(B, P)``.
        classes: Class logits, ``(B, P, K)``.
        are_exclusive: Whether classes are a softmax, else sigmoids.
        boxes: Boxes in metric form, ``(B, P, 8)``.
        confidence: Probability of an object, ``(B, P)``; 0 where it is not a number.
    """

    objectness: Tensor
    classes: Tensor
    are_exclusive: bool
    boxes: Tensor
    confidence: Tensor


def read_proposals(outputs: Any, head: nn.Module, role: str) -> Proposals:
    """Read proposals out of a head's outputs, which are left as they are; gradients pass.

    Args:
        outputs: What a VoteHead, SSD3DHead or GroupFree3DHead returned.
        head: The head, for its box coder.
        role: How errors call the model.

    Raises:
        ValueError: These are no such outputs.
    """
    layers = outputs.get('num_decoder_layers') if isinstance(outputs, dict) else None
    prefix = '' if layers is None else f's{layers - 1}.'
    if not isinstance(outputs, dict) or f'{prefix}obj_scores' not in outputs:
        raise ValueError(
            f"the {role}'s layer gives {describe(outputs)}; link a whole VoteHead, SSD3DHead or "
            'GroupFree3DHead, such as bbox_head'
        )
    objects = as_float(outputs[f'{prefix}obj_scores'])
    classes = outputs.get(f'{prefix}sem_scores')
    if classes is None:  # 3DSSD: a sigmoid for each class, (B, K, P), is all
        logits = objects.transpose(1, 2)
        objectness = logits.amax(-1)
    else:
        logits = as_float(classes)
        has_background = objects.shape[-1] == 2
        objectness = objects[..., 1] - objects[..., 0] if has_background else objects[..., 0]
    arguments = (outputs, prefix) if prefix else (outputs,)
    boxes = as_float(head.bbox_coder.decode(*arguments))
    yaw = boxes[..., 6:7]
    return Proposals(
        objectness,
        logits,
        classes is not None,
        torch.cat([boxes[..., :3], log_size(boxes[..., 3:6]), yaw.sin(), yaw.cos()], dim=-1),
        objectness.detach().sigmoid().nan_to_num(nan=0.0),
    )


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows (B, Q, C) of (B, P, C) at ``index`` (B, Q)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))

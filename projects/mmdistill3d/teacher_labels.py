"""Label distillation: what a teacher detects beside the annotations becomes a target, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdistill.classes import ClassMap
from mmdistill.contracts import Targets
from mmdistill3d.classes import class_map, demand_same_number, num_classes
from mmdistill3d.heads import find_head
from mmdistill3d.instances import are_objects

PerClass = float | Mapping[int | str, float]


@MODELS.register_module()
class TeacherLabels(Targets):
    """Adds a teacher's confident boxes to the annotated ones, without duplicates.

    The rule, for each frame: of the teacher's boxes whose score reaches the threshold of their
    class, from the highest score down, a box is added unless an annotated box or one added before
    it, *of whatever class*, has its BEV centre nearer than ``min_distance`` of the candidate's
    class, or overlaps it in BEV by more than ``max_iou``; at most ``max_per_frame`` are added. A
    candidate upon an annotated object of another class contradicts the annotation, hence whatever
    class. Boxes without size, annotated or predicted, take no part.

    Where both models name their classes, labels are joined by name, and boxes of classes that the
    student has not are left out.

    Source: Yang et al., "Towards Efficient 3D Object Detection with Knowledge Distillation",
    NeurIPS 2022 (label distillation with per-class thresholds).

    Config lines::

        model = dict(
            type='BEVFusionDistiller', student=..., teacher=...,
            targets=dict(
                type='TeacherLabels', classes=class_names,
                score_thr=dict(car=0.5, pedestrian=0.3, default=0.4),
                min_distance=dict(pedestrian=0.5, traffic_cone=0.5, default=1.5)))

    Args:
        score_thr: Least score, one for all or by class: names (with ``classes``) or labels;
            ``default`` stands for those not named.
        min_distance: Least distance of BEV centres in metres, likewise.
        max_iou: Largest IoU of rotated BEV boxes; None leaves it out.
        max_per_frame: Most boxes added to a frame, those of highest score.
        classes: Names of the classes in the order of their labels.

    Raises:
        ValueError: A threshold names an unknown class, or some class has none.
    """

    def __init__(
        self,
        score_thr: PerClass = 0.4,
        min_distance: PerClass = 1.0,
        max_iou: float | None = None,
        max_per_frame: int = 100,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if max_per_frame < 0:
            raise ValueError(f'max_per_frame is a number of boxes, got {max_per_frame}')
        self.classes = None if classes is None else list(classes)
        self.score_thr = _ByClass(score_thr, self.classes, 'score_thr')
        self.min_distance = _ByClass(min_distance, self.classes, 'min_distance')
        self.max_iou, self.max_per_frame = max_iou, max_per_frame

        self._classes: ClassMap | None = None

    def bind(self, student: nn.Module, teacher: nn.Module) -> None:
        """Join the classes where both models name them, and compare them with ``classes``.

        Raises:
            ValueError: ``classes`` are others than the student's.
        """
        self._join(student, teacher)
        number = num_classes(find_head(student))
        if self.classes is not None and number is not None and number != len(self.classes):
            raise ValueError(
                f'TeacherLabels is given {len(self.classes)} classes: {self.classes}; the '
                f"student's head has {number}"
            )

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Join the classes of the two models, or count them where they have no names."""
        if self._join(student, teacher) is None:
            demand_same_number(find_head(student), find_head(teacher))

    def _join(self, student: nn.Module, teacher: nn.Module) -> ClassMap | None:
        classes = class_map(student, teacher)
        if classes is not None and self.classes not in (None, list(classes.student)):
            raise ValueError(
                f'TeacherLabels is given classes={self.classes}, and {classes}; it takes the '
                "student's"
            )
        self._classes = None if classes is None or classes.is_same else classes
        return classes

    @torch.no_grad()
    def forward(self, data_samples: Sequence[Any], teacher_predictions: Sequence[Any]) -> list[Any]:
        """Return new samples whose ``gt_instances_3d`` hold the teacher's boxes behind their own.

        Neither argument is changed. Boxes keep the type, origin and number of columns of the
        annotated ones: a velocity that only the annotation has is zero in added boxes. Further
        fields of ``gt_instances_3d`` are filled with -1 (lists with None) for added boxes.

        Args:
            data_samples: Samples with ``gt_instances_3d.bboxes_3d`` and ``labels_3d``.
            teacher_predictions: Samples of the same frames with ``pred_instances_3d``.

        Raises:
            ValueError: The samples are of other frames, or the classes or box types differ.
        """
        if len(data_samples) != len(teacher_predictions):
            raise ValueError(
                f'{len(data_samples)} samples and {len(teacher_predictions)} predictions of the '
                'teacher; they are of one batch'
            )
        return [
            self._extend(sample, prediction)
            for sample, prediction in zip(data_samples, teacher_predictions, strict=True)
        ]

    def _extend(self, sample: Any, prediction: Any) -> Any:
        own, found = sample.gt_instances_3d, self._in_my_classes(prediction.pred_instances_3d)
        if type(own.bboxes_3d) is not type(found.bboxes_3d):
            raise ValueError(
                f'the annotated boxes are {type(own.bboxes_3d).__name__}, the teacher predicts '
                f'{type(found.bboxes_3d).__name__}'
            )
        chosen = self._choose(own, found)
        new = sample.clone()
        new.gt_instances_3d = _join(own, found, chosen) if len(chosen) else own.clone()
        return new

    def _in_my_classes(self, found: InstanceData) -> InstanceData:
        """The teacher's boxes with the student's labels, without those of unknown classes."""
        if self._classes is None:
            return found
        table = torch.tensor(self._classes.student_labels, device=found.labels_3d.device)
        found = found.clone()
        found.labels_3d = table[found.labels_3d.long()]
        return found[found.labels_3d >= 0]

    def _choose(self, own: InstanceData, found: InstanceData) -> Tensor:
        """Return which of the teacher's boxes are added, from the highest score down."""
        labels = found.labels_3d.cpu().long()
        scores = found.scores_3d.float().cpu()
        self._check_labels(labels)
        sure = (scores >= self.score_thr(labels)) & are_objects(found.bboxes_3d.tensor).cpu()
        candidates = sure.nonzero().squeeze(1)
        candidates = candidates[scores[candidates].argsort(descending=True, stable=True)]
        least = self.min_distance(labels[candidates])
        boxes = found.bboxes_3d[candidates.to(found.bboxes_3d.device)]
        objects = own.bboxes_3d[are_objects(own.bboxes_3d.tensor)]
        twins = self._repeats(boxes, objects, least)
        free = ~twins.any(1)
        repeats = self._repeats(boxes, boxes, least)
        kept: list[int] = []
        for candidate in free.nonzero().squeeze(1).tolist():
            if len(kept) == self.max_per_frame:
                break
            if not repeats[candidate, kept].any():
                kept.append(candidate)
        return candidates[kept]

    def _repeats(self, boxes: Any, others: Any, least_m: Tensor) -> Tensor:
        """Whether each of N boxes means the same object as each of M others, (N, M) on the CPU."""
        xy, other_xy = boxes.tensor[:, :2].float().cpu(), others.tensor[:, :2].float().cpu()
        near = (xy[:, None] - other_xy[None]).norm(dim=-1) < least_m[:, None]
        if self.max_iou is None or not near.numel():
            return near
        from mmcv.ops import box_iou_rotated

        iou = box_iou_rotated(boxes.bev.float().cpu(), others.bev.float().cpu())
        return near | (iou > self.max_iou)

    def _check_labels(self, labels: Tensor) -> None:
        if self.classes is not None and (labels >= len(self.classes)).any():
            raise ValueError(
                f'the teacher predicts label {int(labels.max())}, and there are '
                f'{len(self.classes)} classes: {self.classes}; teacher and student need one list '
                'of classes in one order'
            )


class _ByClass:
    """A number for each class: one for all, or by name or label with a ``default``."""

    def __init__(self, value: PerClass, classes: list[str] | None, argument: str) -> None:
        self.by_label: dict[int, float] = {}
        if not isinstance(value, Mapping):
            self.default: float | None = float(value)
            return
        self.default = value.get('default')
        for key, number in value.items():
            if key == 'default':
                continue
            if isinstance(key, str) and key not in (classes or []):
                raise ValueError(f'{argument} names the class {key!r}; classes are {classes}')
            self.by_label[classes.index(key) if isinstance(key, str) else key] = float(number)
        left = set(range(len(classes or []))) - set(self.by_label)
        if self.default is None and (left or classes is None):
            names = [classes[label] for label in sorted(left)] if classes else 'others'
            raise ValueError(f'{argument} has no value for {names}; give it a default')

    def __call__(self, labels: Tensor) -> Tensor:
        """Return the numbers of labels ``(N,)``."""
        number = max([*self.by_label, *labels.tolist(), 0]) + 1
        table = torch.full((number,), float('nan') if self.default is None else self.default)
        for label, value in self.by_label.items():
            table[label] = value
        return table[labels]


def _join(own: InstanceData, found: InstanceData, chosen: Tensor) -> InstanceData:
    """Return the annotated instances with the chosen ones of the teacher behind them."""
    joined = InstanceData()
    for key, value in own.items():
        if key == 'bboxes_3d':
            joined.bboxes_3d = _join_boxes(value, found.bboxes_3d, chosen)
        elif key == 'labels_3d':
            added = found.labels_3d[chosen.to(found.labels_3d.device)]
            joined.labels_3d = torch.cat([value, added.to(value)])
        else:
            joined[key] = _padded(value, len(chosen))
    return joined


def _join_boxes(own: Any, found: Any, chosen: Tensor) -> Any:
    columns = own.tensor.shape[1]
    added = found.tensor[chosen.to(found.tensor.device), :columns].to(own.tensor)
    added = torch.nn.functional.pad(added, (0, columns - added.shape[1]))
    # From the tensor itself, whose z is the bottom's in either object.
    new = own.clone()
    new.tensor = torch.cat([own.tensor, added])
    return new


def _padded(value: Any, number: int) -> Any:
    if isinstance(value, Tensor):
        return torch.cat([value, value.new_full((number, *value.shape[1:]), -1)])
    if isinstance(value, np.ndarray):
        return np.concatenate([value, np.full((number, *value.shape[1:]), -1, value.dtype)])
    return type(value)([*value, *[None] * number])

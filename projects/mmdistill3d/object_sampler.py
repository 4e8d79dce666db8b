"""What object-level CRD contrasts: BEV features at the boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.contracts import Sampler
from mmdistill.memory.samplers import SAMPLERS, Samples, demand_map, zero_if_not_finite
from mmdistill.reading import Layer
from mmdistill3d.grids import TEACHER, MapGrid
from mmdistill3d.instances import annotated, are_objects, boxes_of
from mmdistill3d.roi import roi_features


@MODELS.register_module()
class ObjectSampler(Sampler):
    """Objects of the ground truth: both maps, read bilinearly at points of each box in metres.

    Keyed by class, and by ``gt_instances_3d.instance_id`` where data samples carry it. The maps may
    differ in size, range and the order of their axes.

    Config lines::

        loss=dict(type='CRDLoss', granularity=dict(type='object'))

    Args:
        point_cloud_range: Range of the student's map in metres; default what the student says
            (:class:`~mmdistill3d.grids.MapGrid`).
        num_classes: Number of classes.
        size: Points ``(n, m)`` along length and width of a box.
        expand: Factor of the boxes' length and width.
        axes: Order of the student map's axes, likewise.
        teacher_axes: The same for the teacher's map; default what the teacher says.
    """

    needs = ('data_samples',)
    joins = 'nothing'
    projector = dict(type='MLPProjector', pool='avg+max')

    def __init__(
        self,
        point_cloud_range: Sequence[float] | None = None,
        num_classes: int = 10,
        size: Sequence[int] = (3, 3),
        expand: float = 1.0,
        axes: str | None = None,
        teacher_axes: str | None = None,
    ) -> None:
        if len(size) != 2 or min(size) < 1 or expand <= 0:
            raise ValueError(
                f'need size (n, m) of at least (1, 1) and expand > 0; got {size}, {expand}'
            )
        self.grid = MapGrid(point_cloud_range, axes)
        self.teacher_grid = MapGrid(axes=teacher_axes, like=self.grid, arguments=TEACHER)
        self.num_classes, self.size, self.expand = num_classes, tuple(size), expand

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Read the grids of both maps."""
        self.grid.bind(student)
        self.teacher_grid.bind(teacher)

    @property
    def memory(self) -> dict:
        """Config of the memory that fits these samples."""
        return dict(type='QueueMemory', num_classes=self.num_classes)

    def __call__(self, student: Any, teacher: Any, *, data_samples: Any) -> Samples:
        """Return a sample ``(C, n, m)`` for each box of the batch; one without size is of class -1.

        Args:
            student: Map ``(B, Cs, H, W)``.
            teacher: Map ``(B, Ct, h, w)``.
            data_samples: Samples with ``gt_instances_3d``, whose ``bboxes_3d`` went through the
                same augmentation as the points.

        Raises:
            ValueError: A feature is no map, or the batch has no boxes to read.
        """
        student, teacher = demand_map(student), demand_map(teacher)
        instances = annotated(data_samples, len(student))
        boxes = boxes_of(instances)
        student, student_is_finite = zero_if_not_finite(
            roi_features(student, boxes, self.grid(), self.size, self.expand)
        )
        teacher, teacher_is_finite = zero_if_not_finite(
            roi_features(teacher, boxes, self.teacher_grid(), self.size, self.expand)
        )
        keys = dict(
            labels=torch.cat([_labels(item) for item in instances]),
            instances=torch.cat([_instance_ids(item) for item in instances]),
        )
        return Samples(student, teacher, student_is_finite & teacher_is_finite, keys)


SAMPLERS['object'] = ObjectSampler.__name__


def _labels(item: Any) -> Tensor:
    """Classes ``(N,)``; -1, which a memory leaves out, where the box is no object."""
    return torch.where(are_objects(item.bboxes_3d.tensor), item.labels_3d.long(), -1)


def _instance_ids(item: Any) -> Tensor:
    ids = item.get('instance_id')
    if ids is None:
        return torch.full_like(item.labels_3d, -1, dtype=torch.long)
    return torch.as_tensor(ids, device=item.labels_3d.device).long()

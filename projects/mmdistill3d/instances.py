"""Annotated and predicted objects of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet3d.structures import CameraInstance3DBoxes
from mmengine.structures import InstanceData
from torch import Tensor

# Where boxes that are no objects lie, in metres: outside of every map.
_FAR_M = 1e6


def annotated(
    data_samples: Sequence[Any] | None, batch_size: int, otherwise: str = ''
) -> list[InstanceData]:
    """Return the annotated objects of each sample: ``bboxes_3d`` and ``labels_3d``, maybe none.

    Args:
        data_samples: Samples with ``gt_instances_3d``.
        batch_size: Number of samples of the features that the objects belong to.
        otherwise: How to do without annotations, for the error.

    Raises:
        ValueError: The samples have no annotations, or are not as many as the features'.
    """
    found = [getattr(sample, 'gt_instances_3d', None) for sample in data_samples or []]
    if not found or any(item is None or 'bboxes_3d' not in item for item in found):
        raise ValueError(
            'needs annotated boxes, and the batch has none: pack them in the training '
            "pipeline (Pack3DDetInputs with keys=['points', 'gt_bboxes_3d', 'gt_labels_3d'])"
            + otherwise
        )
    if len(found) != batch_size:
        raise ValueError(f'the map is a batch of {batch_size}, and there are {len(found)} samples')
    return found


def boxes_of(instances: Sequence[InstanceData]) -> list[Tensor]:
    """Return the boxes of each sample, ``(N, 7)``: x, y, z of the bottom, l, w, h in metres, yaw.

    A box that is no object is moved away, see :func:`objects_alone`.

    Raises:
        ValueError: The boxes are in camera coordinates.
    """
    return [objects_alone(on_the_ground(item.bboxes_3d)) for item in instances]


def objects_alone(boxes: Tensor) -> Tensor:
    """Return boxes ``(N, 7)`` of ``(N, 7+)``; one that is no object lies far away from every map.

    There it weighs nothing; to leave it out would make the device tell how many are left.
    """
    boxes = boxes[:, :7]
    far = torch.ones_like(boxes)
    far[:, :2] = _FAR_M
    return torch.where(are_objects(boxes)[:, None], boxes, far)


def are_objects(boxes: Tensor) -> Tensor:
    """Return which boxes ``(N, 7+)`` are objects, ``(N,)``: those finite and of positive size.

    Velocity does not matter.
    """
    return boxes[:, :7].isfinite().all(1) & (boxes[:, 3:6] > 0).all(1)


def predicted(predictions: Sequence[Any] | None) -> tuple[list[Tensor], list[Tensor]]:
    """Return the boxes that a teacher predicts and their scores, ``(N, 7+)`` and ``(N,)`` each.

    Args:
        predictions: Samples with ``pred_instances_3d``.

    Raises:
        ValueError: The teacher predicts no boxes, or boxes in camera coordinates.
    """
    if not predictions or not all(hasattr(s, 'pred_instances_3d') for s in predictions):
        raise ValueError('needs a teacher whose predict returns samples with pred_instances_3d')
    found = [sample.pred_instances_3d for sample in predictions]
    return [on_the_ground(item.bboxes_3d) for item in found], [item.scores_3d for item in found]


def on_the_ground(boxes: Any) -> Tensor:
    """Return the tensor of boxes whose first two columns are the ground's x and y.

    Those of LiDAR and depth boxes are. Those of a camera have x and *z* there, of another origin,
    and turn the other way round.

    Raises:
        ValueError: The boxes are in camera coordinates.
    """
    if isinstance(boxes, CameraInstance3DBoxes):
        raise ValueError(
            'the boxes are CameraInstance3DBoxes: x right, y down, z ahead of the camera, which is '
            'no place on a map of x and y. Train with boxes in LiDAR coordinates '
            "(boxes.convert_to(Box3DMode.LIDAR, rt_mat)), or weigh a map by weights='teacher' or "
            'without a mask'
        )
    return boxes.tensor

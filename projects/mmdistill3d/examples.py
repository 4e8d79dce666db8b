"""Made-up frames for built detectors: small clouds and boxes where no data set is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet3d.models import Base3DDetector, SingleStageMono3DDetector
from mmdet3d.structures import (
    Box3DMode,
    CameraInstance3DBoxes,
    Det3DDataSample,
    LiDARInstance3DBoxes,
)
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdistill3d.classes import num_classes
from mmdistill3d.heads import find_head
from mmdistill3d.reading import bev_encoder, bev_range

GROUND_Z_M = -1.8  # below a sensor on a roof
IMAGE_HW = (128, 256)
FOCAL_PX = 150.0


def example_batch(
    model: nn.Module, samples: int = 2, points: int = 4000, boxes: int = 8
) -> dict[str, Any] | None:
    """Make up a raw, collated training batch that a built detector takes.

    The clouds have the model's number of columns and lie in its range, dense around the sensor and
    near the ground as a LiDAR's; the boxes have velocities where its head predicts them. The same
    model and numbers give the same batch; the global random streams are not touched.

    Args:
        model: A detector of MMDetection3D on points, such as :class:`bevfusion.BEVFusion`, or on
            single images, such as FCOS3D.
        samples: Frames.
        points: Points drawn a frame; those outside the range are left out.
        boxes: Boxes a frame.

    Returns:
        What the model's ``data_preprocessor`` takes; None where the model does not tell the range
        or the columns of its points (indoor scenes), or joins several sensors.
    """
    if isinstance(model, SingleStageMono3DDetector):
        return _images(model, samples, boxes)
    if getattr(model, 'with_img_backbone', False):
        return None
    return cloud_batch(model, samples, points, boxes)


def cloud_batch(
    model: nn.Module, samples: int = 2, points: int = 4000, boxes: int = 8
) -> dict[str, Any] | None:
    """Make up the clouds of :func:`example_batch`, whatever else a model takes."""
    limits, columns = bev_range(model), point_columns(model)
    if not isinstance(model, Base3DDetector) or limits is None or columns is None:
        return None
    rng = np.random.RandomState(0)
    clouds, truths = [], []
    classes = num_classes(find_head(model)) or 1
    for index in range(samples):
        clouds.append(_cloud(rng, limits, points, columns))
        truths.append(_truth(rng, limits, boxes, box_dim(model), classes, index))
    return {'inputs': {'points': clouds}, 'data_samples': truths}


def point_columns(model: nn.Module) -> int | None:
    """Return how many numbers a point has that a detector reads; None if unknown."""
    encoder = getattr(model, 'voxel_encoder', None) or getattr(model, 'pts_voxel_encoder', None)
    if hasattr(encoder, '_with_cluster_center'):  # its width counts the offsets that it adds
        added = 3 * bool(encoder._with_cluster_center) + 3 * bool(encoder._with_voxel_center)
        return encoder.in_channels - added - bool(getattr(encoder, '_with_distance', False))
    if hasattr(encoder, 'num_features'):
        return encoder.num_features
    return getattr(bev_encoder(model), 'in_channels', None)


def box_dim(model: nn.Module) -> int:
    """Return 9 for a detector that learns velocities, else 7."""
    head = find_head(model)
    tasks = getattr(head, 'task_heads', None)
    if tasks is not None:
        return 9 if 'vel' in tasks[0].heads else 7
    code_size = getattr(getattr(head, 'bbox_coder', None), 'code_size', 7)
    return 9 if code_size >= 9 else 7  # 10 with the yaw as sine and cosine


def _cloud(
    rng: np.random.RandomState, limits: Sequence[float], number: int, columns: int
) -> Tensor:
    """(N, columns) points, the further columns in [0, 1)."""
    reach = np.hypot(*np.abs(limits)[[3, 4]])
    distance = reach * rng.uniform(0.02, 1, number) ** 1.5
    angle = rng.uniform(-np.pi, np.pi, number)
    height = np.where(rng.uniform(size=number) < 0.6, GROUND_Z_M, rng.uniform(-2, 2, number))
    points = np.zeros((number, columns), np.float32)
    points[:, 0], points[:, 1] = distance * np.cos(angle), distance * np.sin(angle)
    points[:, 2] = height + rng.normal(0, 0.05, number)
    points[:, 3:] = rng.uniform(0, 1, (number, columns - 3))
    inside = (points[:, :3] > limits[:3]).all(axis=1) & (points[:, :3] < limits[3:]).all(axis=1)
    return torch.from_numpy(points[inside])


def _truth(
    rng: np.random.RandomState,
    limits: Sequence[float],
    number: int,
    columns: int,
    classes: int,
    index: int,
) -> Det3DDataSample:
    """A frame's boxes on the ground, labels in turn, so that every class is there early."""
    boxes = np.zeros((number, columns), np.float32)
    boxes[:, :2] = rng.uniform(limits[:2], limits[3:5], (number, 2))
    boxes[:, 2] = GROUND_Z_M
    boxes[:, 3:6] = rng.uniform(0.5, 5, (number, 3))
    boxes[:, 6] = rng.uniform(-np.pi, np.pi, number)
    sample = Det3DDataSample(
        metainfo={
            'box_type_3d': LiDARInstance3DBoxes,
            'box_mode_3d': Box3DMode.LIDAR,
            'sample_idx': index,
            'pcd_scale_factor': 1.0,
        }
    )
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.from_numpy(boxes), box_dim=columns),
        labels_3d=torch.from_numpy((index + np.arange(number)) % classes),
    )
    return sample


def _images(model: nn.Module, samples: int, boxes: int) -> dict[str, Any]:
    """A batch of noise with boxes on the ground before the camera."""
    rng = np.random.RandomState(0)
    height, width = IMAGE_HW
    cam2img = np.eye(4)
    cam2img[:2, :3] = [[FOCAL_PX, 0, width / 2], [0, FOCAL_PX, height / 2]]
    head = model.bbox_head
    code_size = getattr(head, 'bbox_code_size', 7)
    images, truths = [], []
    for index in range(samples):
        images.append(torch.from_numpy(rng.randint(0, 256, (3, height, width)).astype(np.uint8)))
        numbers = np.zeros((boxes, code_size), np.float32)
        depth = rng.uniform(5, 40, boxes)
        numbers[:, 0] = depth * rng.uniform(-0.6, 0.6, boxes)
        numbers[:, 1] = -GROUND_Z_M  # y points down
        numbers[:, 2] = depth
        numbers[:, 3:6] = rng.uniform(1, 4, (boxes, 3))
        numbers[:, 6] = rng.uniform(-np.pi, np.pi, boxes)
        truths.append(_camera_truth(numbers, cam2img, num_classes(find_head(model)) or 1, index))
    return {'inputs': {'img': images}, 'data_samples': truths}


def _camera_truth(
    numbers: np.ndarray, cam2img: np.ndarray, classes: int, index: int
) -> Det3DDataSample:
    """Boxes in space, and where they are in the image."""
    boxes = CameraInstance3DBoxes(torch.from_numpy(numbers), box_dim=numbers.shape[1])
    projection = torch.from_numpy(cam2img).float()
    corners, centres = (
        _project(points, projection) for points in (boxes.corners, boxes.gravity_center)
    )
    labels = torch.from_numpy((index + np.arange(len(numbers))) % classes)
    sample = Det3DDataSample(
        metainfo={
            'box_type_3d': CameraInstance3DBoxes,
            'box_mode_3d': Box3DMode.CAM,
            'cam2img': cam2img.tolist(),
            'img_shape': IMAGE_HW,
            'sample_idx': index,
            'pad_shape': IMAGE_HW,
            'scale_factor': np.ones(2, np.float32),
            'trans_mat': np.diag([0.25, 0.25, 1.0]).astype(np.float32),
            'affine_aug': False,
        }
    )
    flat = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    limits = flat.new_tensor([*IMAGE_HW[::-1], *IMAGE_HW[::-1]])
    sample.gt_instances = InstanceData(bboxes=flat.clamp(min=0).minimum(limits), labels=labels)
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=boxes,
        labels_3d=labels,
        centers_2d=centres,
        depths=boxes.gravity_center[:, 2],
        attr_labels=torch.zeros_like(labels),
    )
    return sample


def _project(points: Tensor, cam2img: Tensor) -> Tensor:
    """Pixels (..., 2) of points (..., 3) in the camera's frame, all in front of it."""
    pixels = points @ cam2img[:3, :3].T
    return pixels[..., :2] / pixels[..., 2:].clamp(min=0.1)

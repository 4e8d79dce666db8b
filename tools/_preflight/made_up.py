"""A made-up batch, for checking a step where the data set is not there."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from tools._preflight.findings import Skip
from tools._preflight.state import State, find_value, leaf_dataset

POINTS_A_SWEEP = 30_000
BOXES = 40


def made_up_samples(state: State, count: int) -> list[dict[str, Any]]:
    """Samples as a pipeline would give them: clouds that thin out with distance, and boxes.

    Raises:
        Skip: The config does not say the range of its points.
    """
    limits = find_value(state.cfg, 'point_cloud_range')
    if limits is None:
        raise Skip('no data set is there, and the config names no point_cloud_range to make one up')
    dataset = leaf_dataset(state.loader('train').get('dataset') or {})
    steps = {step.get('type'): step for step in dataset.get('pipeline') or ()}
    features = steps.get('LoadPointsFromFile', {}).get('use_dim', 4)
    features = features if isinstance(features, int) else len(features)
    sweeps = 1
    if state.device != 'cpu':  # there, one sweep is enough to wait for
        sweeps += steps.get('LoadPointsFromMultiSweeps', {}).get('sweeps_num', 0)
    box_dim = 9 if dataset.get('type') == 'NuScenesDataset' else 7
    classes = len((dataset.get('metainfo') or {}).get('classes') or 'x')
    rng = np.random.RandomState(0)
    return [
        {
            'inputs': {'points': _cloud(rng, limits, POINTS_A_SWEEP * sweeps, features)},
            'data_samples': _truth(rng, limits, box_dim, classes, index),
        }
        for index in range(count)
    ]


def _cloud(
    rng: np.random.RandomState, limits: list[float], number: int, features: int
) -> torch.Tensor:
    """(N, features) points as dense around the car as a LiDAR's, near the ground for the most."""
    reach = np.hypot(*limits[3:5])
    distance = reach * rng.uniform(0.02, 1, number) ** 1.5
    angle = rng.uniform(-np.pi, np.pi, number)
    height = np.where(rng.uniform(size=number) < 0.6, -1.8, rng.uniform(-2, 2, number))
    points = np.zeros((number, features), np.float32)
    points[:, 0], points[:, 1] = distance * np.cos(angle), distance * np.sin(angle)
    points[:, 2] = height + rng.normal(0, 0.05, number)
    points[:, 3:] = rng.uniform(0, 1, (number, features - 3))
    inside = (points[:, :3] > limits[:3]).all(axis=1) & (points[:, :3] < limits[3:]).all(axis=1)
    return torch.from_numpy(points[inside])


def _truth(
    rng: np.random.RandomState, limits: list[float], box_dim: int, classes: int, index: int
) -> Det3DDataSample:
    boxes = np.zeros((BOXES, box_dim), np.float32)
    boxes[:, :2] = rng.uniform(limits[:2], limits[3:5], (BOXES, 2))
    boxes[:, 2] = -1.8
    boxes[:, 3:6] = rng.uniform(0.5, 5, (BOXES, 3))
    boxes[:, 6] = rng.uniform(-np.pi, np.pi, BOXES)
    sample = Det3DDataSample(
        metainfo={'box_type_3d': LiDARInstance3DBoxes, 'sample_idx': index, 'pcd_scale_factor': 1.0}
    )
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.from_numpy(boxes), box_dim=box_dim),
        labels_3d=torch.from_numpy(rng.randint(0, classes, BOXES)),
    )
    return sample

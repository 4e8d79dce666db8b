"""A small BEVFusion pair on made-up point clouds."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

import mmdistill3d  # noqa: F401  (registers)

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet3d')


@pytest.fixture
def teacher_model():
    """The teacher of the embedded data set, narrowed for speed."""
    return _narrow(load('bevfusion/bevfusion_lidar_teacher_mini.py').model)


@pytest.fixture
def distill_model(teacher_model):
    """``configs/distill/bevfusion_crd_mini.py`` with all links of its neck and a random teacher."""
    model = load('distill/bevfusion_crd_mini.py').model
    link_all(model)
    model.student = _narrow(load('bevfusion/bevfusion_lidar_student_mini.py').model)
    model.teacher = dict(config=teacher_model, allow_random_weights=True)
    return model


@pytest.fixture
def batch():
    """Two clouds, with boxes in the first and none in the second."""
    rng = np.random.RandomState(0)
    clouds = [
        np.concatenate(
            [rng.uniform(-12, 12, (n, 2)), rng.uniform(-3, 1, (n, 1)), rng.uniform(0, 1, (n, 2))],
            axis=1,
        )
        for n in (700, 400)
    ]
    boxes = torch.tensor([[3.0, 2, -1, 4, 2, 1.5, 0.3, 1, 0], [-5, 4, -1, 1, 1, 1.8, 0, 0, 0]])
    samples = []
    for number, (box, label) in enumerate([(boxes, [0, 8]), (boxes[:0], [])]):
        sample = Det3DDataSample(
            metainfo=dict(box_type_3d=LiDARInstance3DBoxes, sample_idx=3 + number)
        )
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(box, box_dim=9),
            labels_3d=torch.tensor(label, dtype=torch.long),
        )
        samples.append(sample)
    points = [torch.tensor(cloud, dtype=torch.float32) for cloud in clouds]
    return dict(inputs=dict(points=points), data_samples=samples)


def link_all(model: dict) -> None:
    """Switch on what stands ready at the neck of ``bevfusion_crd*.py``."""
    for name in ('neck_crd', 'neck_attention', 'neck_feature'):
        model.links[name].weight = 1


def load(name: str) -> Config:
    return copy.deepcopy(Config.fromfile(CONFIGS / name))


def _narrow(model: dict) -> dict:
    """Halve the range: a quarter of the BEV cells."""
    voxels = model.data_preprocessor.voxelize_cfg
    voxels.point_cloud_range = [-12.8, -12.8, -5.0, 12.8, 12.8, 3.0]
    model.bbox_head.num_proposals = 20
    return model

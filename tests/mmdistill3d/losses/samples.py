"""Annotated frames for tests of losses."""

from __future__ import annotations

import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData


def sample_of(boxes: list, labels: list[int]) -> Det3DDataSample:
    """One frame with boxes of nine numbers."""
    sample = Det3DDataSample()
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.as_tensor(boxes).reshape(-1, 9), box_dim=9),
        labels_3d=torch.tensor(labels, dtype=torch.long),
    )
    return sample

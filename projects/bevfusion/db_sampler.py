"""Ground-truth sampling that works with NumPy 1.24 to 1.26."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmdet3d.datasets.transforms.dbsampler import DataBaseSampler
from mmdet3d.registry import TRANSFORMS

from .boxes import are_objects


@TRANSFORMS.register_module()
class BEVFusionDataBaseSampler(DataBaseSampler):
    """Objects to paste into a frame, drawn from the ground-truth database.

    MMDetection3D 1.4.0's sampler uses ``np.long``, which NumPy 1.24 to 1.26 lack; otherwise the
    two are the same, arguments included. Where ``np.long`` is missing this class is registered
    as ``DataBaseSampler`` as well, so that ``ObjectSample`` of unchanged configs works.

    Example:
        ``dict(type='ObjectSample', db_sampler=dict(type='BEVFusionDataBaseSampler', ...))``
    """

    def sample_all(
        self,
        gt_bboxes: np.ndarray,
        gt_labels: np.ndarray,
        img: np.ndarray | None = None,
        ground_plane: np.ndarray | None = None,
    ) -> dict | None:
        """Draw what each class lacks of its share, without collisions; nothing of empty classes.

        Boxes of the database without size are not pasted.

        Args:
            gt_bboxes: (N, 7+) boxes of the frame.
            gt_labels: (N,) classes.
            img: Unused; part of the interface.
            ground_plane: (4,) coefficients; boxes and points are then put on that plane.

        Returns:
            ``gt_bboxes_3d`` (M, 7+), ``gt_labels_3d`` (M,) int64, ``points`` and ``group_ids``,
            or None if nothing was drawn.
        """
        drawn, occupied = [], gt_bboxes
        for name, share in zip(self.sample_classes, self.sample_max_nums, strict=True):
            missing = share - int(np.sum(np.asarray(gt_labels) == self.cat2label[name]))
            number = int(np.round(self.rate * missing))
            if number <= 0 or not self.db_infos[name]:
                continue
            objects = [
                item for item in self.sample_class_v2(name, number, occupied) if _has_size(item)
            ]
            if objects:
                boxes = np.stack([item['box3d_lidar'] for item in objects])
                occupied = np.concatenate([occupied, boxes])
                drawn += objects
        if not drawn:
            return None
        boxes = np.stack([item['box3d_lidar'] for item in drawn])
        points = [self._load_points(item) for item in drawn]
        if ground_plane is not None:
            above = (boxes[:, :3] * ground_plane[:3]).sum(axis=-1) + ground_plane[3]
            boxes[:, 2] -= above
            for cloud, height in zip(points, above, strict=True):
                cloud.tensor[:, 2] -= height
        return {
            'gt_labels_3d': np.array([self.cat2label[item['name']] for item in drawn], np.int64),
            'gt_bboxes_3d': boxes,
            'points': points[0].cat(points),
            'group_ids': np.arange(len(gt_bboxes), len(gt_bboxes) + len(drawn)),
        }

    def _load_points(self, item: dict):
        path = str(Path(self.data_root or '') / item['path'])
        points = self.points_loader({'lidar_points': {'lidar_path': path}})['points']
        points.translate(item['box3d_lidar'][:3])
        return points


def _has_size(item: dict) -> bool:
    return bool(are_objects(torch.as_tensor(item['box3d_lidar'])[None]))


if 'long' not in vars(np):  # hasattr would warn
    TRANSFORMS.register_module(name='DataBaseSampler', force=True, module=BEVFusionDataBaseSampler)

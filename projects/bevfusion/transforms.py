"""Augmentations of BEVFusion's training pipeline."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.datasets.transforms import GlobalRotScaleTrans
from mmdet3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class BEVFusionRandomFlip3D(BaseTransform):
    """Mirror points and boxes along y, along x, both or neither, each with probability 1/2.

    The mirroring is multiplied into ``lidar_aug_matrix`` (4, 4). Boxes mirror their velocities
    too.
    """

    def transform(self, results: dict) -> dict:
        """Flip ``points``, ``gt_bboxes_3d`` and ``gt_masks_bev`` (C, X, Y), where present."""
        flip_y, flip_x = np.random.choice([0, 1]), np.random.choice([0, 1])
        if flip_y:
            self._flip(results, 'horizontal')
        if flip_x:
            self._flip(results, 'vertical')
        mirror = np.diag([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0, 1.0, 1.0])
        results['lidar_aug_matrix'] = mirror @ results.get('lidar_aug_matrix', np.eye(4))
        return results

    @staticmethod
    def _flip(results: dict, direction: str) -> None:
        for key in ('points', 'gt_bboxes_3d'):
            if key in results:
                results[key].flip(direction)
        if 'gt_masks_bev' in results:
            axis = 2 if direction == 'horizontal' else 1
            results['gt_masks_bev'] = np.flip(results['gt_masks_bev'], axis).copy()


@TRANSFORMS.register_module()
class BEVFusionGlobalRotScaleTrans(GlobalRotScaleTrans):
    """Rotate, translate, then scale points and boxes.

    MMDetection3D's ``GlobalRotScaleTrans`` scales before it translates. The result is
    multiplied into ``lidar_aug_matrix`` (4, 4). Arguments are the parent's.
    """

    def transform(self, input_dict: dict) -> dict:
        """Augment ``points`` and ``gt_bboxes_3d``, where present."""
        self._rot_bbox_points(input_dict)
        if 'pcd_scale_factor' not in input_dict:
            self._random_scale(input_dict)
        self._trans_bbox_points(input_dict)
        self._scale_bbox_points(input_dict)
        input_dict.setdefault('transformation_3d_flow', []).extend(['R', 'T', 'S'])

        scale = input_dict['pcd_scale_factor']
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(input_dict['pcd_rotation']).T * scale
        matrix[:3, 3] = np.asarray(input_dict['pcd_trans']) * scale
        input_dict['lidar_aug_matrix'] = matrix @ input_dict.get('lidar_aug_matrix', np.eye(4))
        return input_dict

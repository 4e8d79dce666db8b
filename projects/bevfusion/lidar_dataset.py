"""Clouds and boxes of any classes: the data set for recordings of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.datasets import Det3DDataset
from mmdet3d.registry import DATASETS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine import load


@DATASETS.register_module()
class LidarDataset(Det3DDataset):
    """Frames of a LiDAR with boxes of classes that its info file names; no camera, no velocities.

    MMDetection3D's own data sets know the classes of their benchmark alone. An instance of the info
    file needs ``bbox_3d`` (x, y, z of the centre, length, width, height in metres, yaw in radians)
    and ``bbox_label_3d``, a number of ``metainfo['categories']`` there.

    Example:
        ``dict(type='LidarDataset', data_root='data/mine/', ann_file='infos_train.pkl',
        data_prefix=dict(pts='clouds'), metainfo=dict(classes=['forklift', 'pallet']))``

    Args:
        ann_file: Info file, below ``data_root``.
        metainfo: ``classes``: those to detect, in any order; objects of others are left out.
        data_root: Folder of the data set.
        **kwargs: As ``Det3DDataset`` takes them.

    Raises:
        ValueError: The info file knows none of its classes, or not one that is asked for.
    """

    def __init__(
        self, ann_file: str, metainfo: dict[str, Any], data_root: str | None = None, **kwargs: Any
    ) -> None:
        categories = load(Path(data_root or '', ann_file))['metainfo'].get('categories', {})
        known = sorted((number, name) for name, number in categories.items() if number >= 0)
        names = [name for _, name in known]
        unknown = [name for name in metainfo['classes'] if name not in names]
        if unknown or [number for number, _ in known] != list(range(len(known))):
            raise ValueError(
                f'{ann_file} has the categories {categories}, and metainfo asks for the classes '
                f'{list(metainfo["classes"])}: write metainfo=dict(categories=...) into the file, '
                'the number of each class from 0 on, and ask for some of them'
            )
        self.METAINFO = {'classes': tuple(names)}
        super().__init__(
            data_root, ann_file, metainfo=metainfo, modality={'use_lidar': True}, **kwargs
        )

    def parse_ann_info(self, info: dict) -> dict[str, Any]:
        """Boxes and labels of a frame, without those of other classes."""
        found = super().parse_ann_info(info) or {
            'gt_bboxes_3d': np.zeros((0, 7), np.float32),
            'gt_labels_3d': np.zeros(0, np.int64),
        }
        found = self._remove_dontcare(found)
        boxes = LiDARInstance3DBoxes(found['gt_bboxes_3d'], origin=(0.5, 0.5, 0.5))
        return {**found, 'gt_bboxes_3d': boxes}

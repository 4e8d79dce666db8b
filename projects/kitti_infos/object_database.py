"""KITTI's ground-truth objects cut out of the training frames, for pasting into others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kitti_infos.infos import COLUMNS
from kitti_infos.labels import CLASSES
from nuscenes_infos.object_database import ObjectDatabase


@dataclass(frozen=True)
class KittiObjectDatabase(ObjectDatabase):
    """The object database of a KITTI training split, as ``DataBaseSampler`` reads it.

    See :class:`~nuscenes_infos.object_database.ObjectDatabase`. The points are those of the reduced
    clouds: x, y, z relative to the centre of the box's bottom, and reflectance.
    """

    tag: str = 'kitti'
    max_sweeps: int = 0
    classes: tuple[str, ...] = CLASSES
    columns: int = COLUMNS

    def dataset_config(self) -> dict[str, Any]:
        """Config of the data set that gives the frames."""
        return {
            'type': 'KittiDataset',
            'data_root': str(self.root),
            'data_prefix': {'pts': 'training/velodyne_reduced'},
        }

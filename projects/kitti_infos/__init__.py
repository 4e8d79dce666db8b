"""The KITTI object data set -> info files and reduced clouds of MMDetection3D -> object database.

Calibrations, labels and info files need numpy alone; the object database needs MMDetection3D,
which ``kitti_infos.object_database`` imports.
"""

from kitti_infos.calibration import Calibration
from kitti_infos.create import create_kitti
from kitti_infos.labels import CLASSES, Label, read_labels

__all__ = ['CLASSES', 'Calibration', 'Label', 'create_kitti', 'read_labels']

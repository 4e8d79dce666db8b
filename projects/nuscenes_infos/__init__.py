"""nuScenes v1.0 tables -> info files of MMDetection3D -> object database.

The tables and info files need numpy alone. What needs MMDetection3D is imported from its module:
``nuscenes_infos.create`` and ``nuscenes_infos.object_database``.
"""

from nuscenes_infos.classes import CATEGORY_TO_CLASS, CLASSES
from nuscenes_infos.files import locked, write_atomically
from nuscenes_infos.infos import build_infos, serialize, split_scenes
from nuscenes_infos.tables import NuScenesTables

__all__ = [
    'CATEGORY_TO_CLASS',
    'CLASSES',
    'NuScenesTables',
    'build_infos',
    'locked',
    'serialize',
    'split_scenes',
    'write_atomically',
]

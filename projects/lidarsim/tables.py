"""The nuScenes v1.0 tables: names, tokens, and the rows that no scene changes."""

import hashlib
import json
from pathlib import Path

import numpy as np

from lidarsim.shapes import KINDS

VERSION = 'v1.0-trainval'
TABLES = (
    'attribute',
    'calibrated_sensor',
    'category',
    'ego_pose',
    'instance',
    'log',
    'map',
    'sample',
    'sample_annotation',
    'sample_data',
    'scene',
    'sensor',
    'visibility',
)
CAMERAS = {
    'CAM_FRONT': 0.0,
    'CAM_FRONT_LEFT': 55.0,
    'CAM_BACK_LEFT': 110.0,
    'CAM_BACK': 180.0,
    'CAM_BACK_RIGHT': -110.0,
    'CAM_FRONT_RIGHT': -55.0,
}
"""Cameras that have table rows but no images, and their directions in degrees."""

LIDAR_TRANSLATION = (0.94, 0.0, 1.84)
LIDAR_YAW = -np.pi / 2


def token(*names: object) -> str:
    """A 32-digit hexadecimal token that depends on the names alone."""
    return hashlib.md5('/'.join(map(str, names)).encode(), usedforsecurity=False).hexdigest()


def rounded(value):
    """Floats of a nested list or array rounded to 6 decimals, as plain Python numbers."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return round(float(value), 6) + 0.0


def yaw_quaternion(yaw: float) -> list[float]:
    """Rotation about z as (w, x, y, z)."""
    return rounded([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])


def static_tables(seed: int) -> dict[str, list[dict]]:
    """Rows that do not depend on any scene."""
    categories = sorted({kind.category for kind in KINDS.values()})
    attributes = {
        'vehicle.moving': 'Vehicle is moving.',
        'vehicle.stopped': 'Vehicle stands for a moment and will go on.',
        'vehicle.parked': 'Vehicle stands for long.',
        'cycle.with_rider': 'Somebody rides the bicycle or motorcycle.',
        'cycle.without_rider': 'Nobody is on the bicycle or motorcycle.',
        'pedestrian.sitting_lying_down': 'Person sits or lies.',
        'pedestrian.standing': 'Person stands.',
        'pedestrian.moving': 'Person walks.',
    }
    levels = {'1': 'v0-40', '2': 'v40-60', '3': 'v60-80', '4': 'v80-100'}
    sensors = [('LIDAR_TOP', 'lidar'), *((name, 'camera') for name in CAMERAS)]
    return {
        'category': [
            {'token': token(seed, name), 'name': name, 'description': f'Simulated {name}.'}
            for name in categories
        ],
        'attribute': [
            {'token': token(seed, name), 'name': name, 'description': text}
            for name, text in attributes.items()
        ],
        'visibility': [
            {
                'token': key,
                'level': level,
                'description': f'{level[1:]} % of the rays towards the object reach it.',
            }
            for key, level in levels.items()
        ],
        'sensor': [
            {'token': token(seed, name), 'channel': name, 'modality': modality}
            for name, modality in sensors
        ],
        'calibrated_sensor': [_calibration(seed, name) for name, _ in sensors],
    }


def _calibration(seed: int, name: str) -> dict:
    if name == 'LIDAR_TOP':
        translation, rotation, intrinsic = LIDAR_TRANSLATION, yaw_quaternion(LIDAR_YAW), []
    else:
        half = np.deg2rad(CAMERAS[name]) / 2
        cos, sin = np.cos(half), np.sin(half)
        # Camera axes (x right, y down, z forward) of a camera that looks along the ego's x axis,
        # turned about the ego's z axis.
        rotation = rounded(0.5 * np.array([cos + sin, -cos - sin, cos - sin, sin - cos]))
        translation = (1.5, 0.0, 1.5)
        intrinsic = [[1260.0, 0.0, 800.0], [0.0, 1260.0, 450.0], [0.0, 0.0, 1.0]]
    return {
        'token': token(seed, 'calibration', name),
        'sensor_token': token(seed, name),
        'translation': rounded(translation),
        'rotation': rotation,
        'camera_intrinsic': intrinsic,
    }


def write_tables(root: Path, tables: dict[str, list[dict]]) -> None:
    """Write the 13 JSON files of the database."""
    folder = root / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        (folder / f'{table}.json').write_text(json.dumps(tables[table], indent=0))

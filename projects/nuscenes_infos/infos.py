"""nuScenes tables -> info files of MMDetection3D (version 2), LiDAR first."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nuscenes_infos.classes import CATEGORY_TO_CLASS, CLASSES
from nuscenes_infos.tables import CAMERAS, LIDAR, NuScenesTables, transforms


def split_scenes(tables: NuScenesTables) -> dict[str, set[str]]:
    """Tokens of the scenes by split, after the official lists of the version.

    Raises:
        ValueError: A scene is on neither list; MMDetection3D's converter would silently count it
            as validation.
    """
    from nuscenes.utils import splits

    names = (
        {'train': splits.mini_train, 'val': splits.mini_val}
        if tables.version == 'v1.0-mini'
        else {'train': splits.train, 'val': splits.val}
    )
    tokens = {row['name']: row['token'] for row in tables.scenes}
    unknown = sorted(set(tokens) - {name for some in names.values() for name in some})
    if unknown:
        raise ValueError(
            f'{len(unknown)} scenes of {tables.root / tables.version} are in neither the train nor '
            f'the val list of {tables.version}, the first is {unknown[0]!r}; give --version the '
            'name that the tables belong to, or name the scenes after the official lists'
        )
    return {split: {tokens[n] for n in some if n in tokens} for split, some in names.items()}


def build_infos(
    tables: NuScenesTables,
    scenes: Iterable[str],
    max_sweeps: int = 10,
    progress: str | None = None,
    cameras: Sequence[str] = CAMERAS,
) -> dict[str, Any]:
    """Infos of the key frames of some scenes, in the order of the table.

    They have what MMDetection3D's own converter writes, but for ``cam_instances`` (boxes in
    images, which no LiDAR detector reads), and an ``instance_token`` a box, which says what is the
    same object in several frames. Categories outside the ten classes keep their boxes, with label
    -1.

    Args:
        tables: The data set.
        scenes: Scene tokens.
        max_sweeps: Sweeps before each key frame, at most.
        progress: Title of a progress bar; None shows none.
        cameras: Channels whose images are listed; none for a data set without images.

    Returns:
        ``metainfo`` and ``data_list``, as ``NuScenesDataset`` reads them.
    """
    wanted = set(scenes)
    samples = [sample for sample in tables.samples if sample['scene_token'] in wanted]
    frames = []
    ignored: set[str] = set()
    for index, sample in enumerate(
        tqdm(samples, desc=progress, unit='frame', disable=progress is None)
    ):
        frame, others = _frame(tables, index, sample, max_sweeps, cameras)
        frames.append(frame)
        ignored |= others
    categories = {name: number for number, name in enumerate(CLASSES)}
    categories |= dict.fromkeys(sorted(ignored), -1)
    metainfo = {
        'categories': categories,
        'dataset': 'nuscenes',
        'version': tables.version,
        'info_version': '1.1',
    }
    return {'metainfo': metainfo, 'data_list': frames}


def serialize(infos: Mapping[str, Any]) -> bytes:
    """The content of an info file."""
    return pickle.dumps(dict(infos), protocol=4)


def _frame(
    tables: NuScenesTables,
    index: int,
    sample: Mapping,
    max_sweeps: int,
    cameras: Sequence[str],
) -> tuple[dict[str, Any], set[str]]:
    """One entry of ``data_list``, and the categories in it that are none of the ten classes."""
    keyframes = tables.keyframes[sample['token']]
    lidar = keyframes[LIDAR]
    lidar2ego, ego2global = tables.sensor2ego(lidar), tables.ego2global(lidar)
    lidar2global = ego2global @ lidar2ego
    instances, ignored = _instances(tables, tables.boxes.get(sample['token'], ()), lidar2global)
    frame = {
        'sample_idx': index,
        'token': sample['token'],
        'timestamp': sample['timestamp'] / 1e6,
        'ego2global': ego2global.tolist(),
        'images': {
            name: _image(tables, keyframes[name], lidar2global)
            for name in cameras
            if name in keyframes
        },
        'lidar_points': {
            'num_pts_feats': 5,
            'lidar_path': Path(lidar['filename']).name,
            'lidar2ego': lidar2ego.tolist(),
        },
        'lidar_sweeps': _sweeps(tables, tables.sweeps_before(lidar, max_sweeps), lidar2global),
        'instances': instances,
    }
    for key in ('images', 'lidar_sweeps'):  # readers take an absent key for none, not an empty one
        if not frame[key]:
            del frame[key]
    return frame, ignored


def _image(tables: NuScenesTables, row: Mapping, lidar2global: np.ndarray) -> dict[str, Any]:
    cam2ego = tables.sensor2ego(row)
    lidar2cam = np.linalg.inv(tables.ego2global(row) @ cam2ego) @ lidar2global
    calibration = tables.calibrations[row['calibrated_sensor_token']]
    return {
        'img_path': Path(row['filename']).name,
        'cam2img': calibration['camera_intrinsic'],
        'cam2ego': cam2ego.tolist(),
        'sample_data_token': row['token'],
        'timestamp': row['timestamp'] / 1e6,
        'lidar2cam': lidar2cam.tolist(),
    }


def _sweeps(
    tables: NuScenesTables, rows: Sequence[Mapping], lidar2global: np.ndarray
) -> list[dict[str, Any]]:
    """Sweeps with the key frame's LiDAR -> sweep's LiDAR transform, of which loaders undo the
    rotation and the translation in turn."""
    if not rows:
        return []
    lidar2ego = transforms([tables.calibrations[row['calibrated_sensor_token']] for row in rows])
    ego2global = transforms([tables.ego_poses[row['ego_pose_token']] for row in rows])
    key2sweep = np.linalg.inv(ego2global @ lidar2ego) @ lidar2global
    return [
        {
            'timestamp': row['timestamp'] / 1e6,
            'sample_data_token': row['token'],
            'ego2global': pose.tolist(),
            'lidar_points': {
                'lidar_path': row['filename'],
                'lidar2ego': calibration.tolist(),
                'lidar2sensor': transform.tolist(),
            },
        }
        for row, pose, calibration, transform in zip(
            rows, ego2global, lidar2ego, key2sweep, strict=True
        )
    ]


def _instances(
    tables: NuScenesTables, rows: Sequence[Mapping], lidar2global: np.ndarray
) -> tuple[list[dict[str, Any]], set[str]]:
    """The boxes of a frame in the LiDAR's frame: centre, length, width, height, yaw."""
    global2lidar = np.linalg.inv(lidar2global)
    boxes = global2lidar @ transforms(rows)
    yaws = np.arctan2(boxes[:, 1, 0], boxes[:, 0, 0]).tolist()
    velocities = np.array([[*tables.velocity(row), 0.0] for row in rows]).reshape(-1, 3)
    velocities = velocities @ lidar2global[:3, :3]  # by the inverse of its rotation
    instances, ignored = [], set()
    for row, centre, yaw, velocity in zip(
        rows, boxes[:, :3, 3].tolist(), yaws, velocities[:, :2].tolist(), strict=True
    ):
        width, length, height = row['size']
        category = tables.categories[row['instance_token']]
        name = CATEGORY_TO_CLASS.get(category)
        if name is None:
            ignored.add(category)
        label = -1 if name is None else CLASSES.index(name)
        instances.append(
            {
                'bbox_3d': [*centre, length, width, height, yaw],
                'bbox_label': label,
                'bbox_label_3d': label,
                'velocity': velocity,
                'num_lidar_pts': row['num_lidar_pts'],
                'num_radar_pts': row['num_radar_pts'],
                'bbox_3d_isvalid': row['num_lidar_pts'] + row['num_radar_pts'] > 0,
                'instance_token': row['instance_token'],
            }
        )
    return instances, ignored

"""mmdet3d's info files (v2), computed from the database rows."""

import pickle
from pathlib import Path

import numpy as np

from lidarsim.shapes import CATEGORY_TO_CLASS
from lidarsim.tables import VERSION

CLASSES = (
    'car',
    'truck',
    'trailer',
    'bus',
    'construction_vehicle',
    'bicycle',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'barrier',
)
"""Detection classes in the order of mmdet3d's `NuScenesDataset`."""

MAX_TIME_DIFF_S = 1.5
"""Annotations farther apart than this give no velocity, as in the devkit."""


class InfoBuilder:
    """Reads the tables of a database the way mmdet3d's converter does.

    Boxes have an `instance_token`, too: the same for an object in all frames of its scene.

    Args:
        tables: Rows by table name.
    """

    def __init__(self, tables: dict[str, list[dict]]) -> None:
        self._rows = {name: {row['token']: row for row in rows} for name, rows in tables.items()}
        self._samples = tables['sample']
        lidar = next(row for row in tables['sensor'] if row['channel'] == 'LIDAR_TOP')
        calibration = next(
            row for row in tables['calibrated_sensor'] if row['sensor_token'] == lidar['token']
        )
        self._lidar2ego = matrix(calibration)
        self._keyframes = {
            row['sample_token']: row
            for row in tables['sample_data']
            if row['is_key_frame'] and row['calibrated_sensor_token'] == calibration['token']
        }
        self._annotations: dict[str, list[dict]] = {}
        for row in tables['sample_annotation']:
            self._annotations.setdefault(row['sample_token'], []).append(row)

    def build(self, scene_tokens: set[str]) -> dict:
        """Infos of the given scenes: a dict with `metainfo` and `data_list`."""
        samples = [row for row in self._samples if row['scene_token'] in scene_tokens]
        return {
            'metainfo': {
                'categories': {name: index for index, name in enumerate(CLASSES)},
                'dataset': 'nuscenes',
                'version': VERSION,
                'info_version': '1.1',
            },
            'data_list': [self._frame(index, sample) for index, sample in enumerate(samples)],
        }

    def _frame(self, index: int, sample: dict) -> dict:
        keyframe = self._keyframes[sample['token']]
        ego2global = self._ego2global(keyframe)
        lidar2global = ego2global @ self._lidar2ego
        info = {
            'sample_idx': index,
            'token': sample['token'],
            'timestamp': sample['timestamp'] / 1e6,
            'ego2global': ego2global.tolist(),
            'lidar_points': {
                'num_pts_feats': 5,
                'lidar_path': Path(keyframe['filename']).name,
                'lidar2ego': self._lidar2ego.tolist(),
            },
            'lidar_sweeps': self._sweeps(keyframe, lidar2global),
            'instances': [
                self._instance(row, lidar2global)
                for row in self._annotations.get(sample['token'], [])
            ],
        }
        if not info['lidar_sweeps']:
            del info['lidar_sweeps']
        return info

    def _sweeps(self, keyframe: dict, lidar2global: np.ndarray) -> list[dict]:
        """The sweeps between this keyframe and the one before, latest first."""
        sweeps = []
        row = keyframe
        while row['prev']:
            row = self._rows['sample_data'][row['prev']]
            if row['is_key_frame']:
                break
            ego2global = self._ego2global(row)
            # mmdet3d's loader applies the rotation's transpose and subtracts this translation.
            key2sweep = np.linalg.inv(ego2global @ self._lidar2ego) @ lidar2global
            sweeps.append(
                {
                    'timestamp': row['timestamp'] / 1e6,
                    'sample_data_token': row['token'],
                    'ego2global': ego2global.tolist(),
                    'lidar_points': {
                        'lidar_path': row['filename'],
                        'lidar2ego': self._lidar2ego.tolist(),
                        'lidar2sensor': key2sweep.tolist(),
                    },
                }
            )
        return sweeps

    def _instance(self, row: dict, lidar2global: np.ndarray) -> dict:
        box = np.linalg.inv(lidar2global) @ matrix(row)
        width, length, height = row['size']
        yaw = float(np.arctan2(box[1, 0], box[0, 0]))
        instance = self._rows['instance'][row['instance_token']]
        category = self._rows['category'][instance['category_token']]['name']
        label = CLASSES.index(CATEGORY_TO_CLASS[category])
        velocity = lidar2global[:3, :3].T @ [*self._velocity(row), 0.0]
        return {
            'bbox_3d': [*box[:3, 3].tolist(), length, width, height, yaw],
            'bbox_label': label,
            'bbox_label_3d': label,
            'velocity': velocity[:2].tolist(),
            'num_lidar_pts': row['num_lidar_pts'],
            'num_radar_pts': row['num_radar_pts'],
            'bbox_3d_isvalid': row['num_lidar_pts'] > 0,
            'instance_token': row['instance_token'],
        }

    def _velocity(self, row: dict) -> np.ndarray:
        """Global velocity (2,) in m/s from the neighbouring annotations; NaN if unknown."""
        rows = self._rows['sample_annotation']
        first, last = rows.get(row['prev'], row), rows.get(row['next'], row)
        seconds = (self._time_us(last) - self._time_us(first)) / 1e6
        limit = MAX_TIME_DIFF_S * (2 if first is not row and last is not row else 1)
        if first is last or seconds > limit:
            return np.full(2, np.nan)
        return (np.array(last['translation']) - first['translation'])[:2] / seconds

    def _time_us(self, annotation: dict) -> int:
        return self._rows['sample'][annotation['sample_token']]['timestamp']

    def _ego2global(self, sample_data: dict) -> np.ndarray:
        return matrix(self._rows['ego_pose'][sample_data['ego_pose_token']])


def matrix(row: dict) -> np.ndarray:
    """(4, 4) transform of a row's rotation (w, x, y, z) and translation."""
    w, x, y, z = np.array(row['rotation']) / np.linalg.norm(row['rotation'])
    result = np.eye(4)
    result[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    result[:3, 3] = row['translation']
    return result


def write_infos(root: Path, tables: dict[str, list[dict]], splits: dict[str, set[str]]) -> None:
    """Write nuscenes_infos_train.pkl and nuscenes_infos_val.pkl.

    Args:
        root: Folder of the data set.
        tables: Rows by table name.
        splits: Scene names by split.
    """
    builder = InfoBuilder(tables)
    for split, names in splits.items():
        scenes = {row['token'] for row in tables['scene'] if row['name'] in names}
        with open(root / f'nuscenes_infos_{split}.pkl', 'wb') as file:
            pickle.dump(builder.build(scenes), file, protocol=4)

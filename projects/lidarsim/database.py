"""One simulated scene as point files and rows of the nuScenes v1.0 tables."""

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from lidarsim.pose import to_local, to_parent
from lidarsim.scene import GROUND_CLEARANCE_M, Scene
from lidarsim.sensor import Lidar, Scan
from lidarsim.shapes import KINDS
from lidarsim.street import Street
from lidarsim.tables import (
    CAMERAS,
    LIDAR_TRANSLATION,
    LIDAR_YAW,
    TABLES,
    rounded,
    token,
    yaw_quaternion,
)

KEYFRAME_INTERVAL_S = 0.5
ANNOTATION_RANGE_M = 25.0
"""Objects are annotated while |x| and |y| of their centre are below this in the LiDAR frame."""

_EPOCH_US = 1_700_000_000_000_000
_SCENE_INTERVAL_US = 60_000_000
_LIDAR_TO_EGO = np.array([*LIDAR_TRANSLATION[:2], LIDAR_YAW])


class SceneWriter:
    """Simulates one scene, writes its point files and collects its table rows.

    Args:
        root: Folder of the data set.
        name: Scene name of the official train or val split.
        number: Position of the scene in the data set; sets its time.
        seed: Seed of the data set.
        frames: Keyframes.
        sweeps: Sweeps before each keyframe, at equal distances in time.
        azimuths: Rays per beam and revolution.
    """

    def __init__(
        self, root: Path, name: str, number: int, seed: int, frames: int, sweeps: int, azimuths: int
    ) -> None:
        self.root = root
        self.name = name
        self.seed = seed
        self.frames = frames
        self.sweeps = sweeps
        self.start_us = _EPOCH_US + number * _SCENE_INTERVAL_US
        self.rng = np.random.default_rng([seed, int(name.split('-')[1])])
        self.scene = Scene(Street(self.rng, (frames - 1) * KEYFRAME_INTERVAL_S))
        self.lidar = Lidar(azimuths, height_m=LIDAR_TRANSLATION[2])
        self.tables: dict[str, list[dict]] = {table: [] for table in TABLES}

    def run(self) -> dict[str, list[dict]]:
        """Write the point files; returns the rows by table."""
        step = KEYFRAME_INTERVAL_S / (self.sweeps + 1)
        for frame in range(self.frames):
            time_s = frame * KEYFRAME_INTERVAL_S
            for back in range(self.sweeps, 0, -1):
                before_s = time_s - back * step
                self._add_lidar(frame, before_s, self._scan(before_s), is_key=False)
            scan = self._scan(time_s)
            self._add_lidar(frame, time_s, scan, is_key=True)
            self._add_sample(frame, time_s)
            self._annotate(frame, time_s, scan)
        self._add_scene()
        _link(self.tables['sample'], key=lambda row: row['scene_token'])
        _link(self.tables['sample_data'], key=lambda row: row['calibrated_sensor_token'])
        _link(self.tables['sample_annotation'], key=lambda row: row['instance_token'])
        self._add_instances()
        return self.tables

    def _scan(self, time_s: float) -> Scan:
        """Measure one revolution."""
        ego = self.scene.ego_pose(time_s)
        sensor = np.array([*to_parent(ego, _LIDAR_TO_EGO[:2]), ego[2] + LIDAR_YAW])

        def ground_reflectivity(xy: np.ndarray) -> np.ndarray:
            return self.scene.street.road.reflectivity(to_parent(sensor, xy))

        boxes = self.scene.boxes(time_s, sensor, self.lidar.height_m)
        return self.lidar.scan(boxes, len(self.scene.actors) + 1, ground_reflectivity, self.rng)

    def _add_lidar(self, frame: int, time_s: float, scan: Scan, is_key: bool) -> None:
        """Store a revolution: its point file, its pose and its sample_data row."""
        timestamp = self._timestamp(time_s)
        folder = 'samples' if is_key else 'sweeps'
        filename = f'{folder}/LIDAR_TOP/lidarsim-{self.name}__LIDAR_TOP__{timestamp}.pcd.bin'
        (self.root / filename).write_bytes(scan.points.tobytes())
        x, y, yaw = self.scene.ego_pose(time_s)
        self.tables['ego_pose'].append(
            {
                'token': self._token('ego_pose', timestamp),
                'timestamp': timestamp,
                'rotation': yaw_quaternion(yaw),
                'translation': rounded([x, y, 0.0]),
            }
        )
        self._add_sample_data('LIDAR_TOP', frame, timestamp, filename, is_key)

    def _add_sample(self, frame: int, time_s: float) -> None:
        """The keyframe's sample row, and the rows of its (missing) images."""
        timestamp = self._timestamp(time_s)
        self.tables['sample'].append(
            {
                'token': self._token('sample', frame),
                'timestamp': timestamp,
                'scene_token': self._token('scene'),
            }
        )
        for camera in CAMERAS:
            filename = f'samples/{camera}/lidarsim-{self.name}__{camera}__{timestamp}.jpg'
            self._add_sample_data(camera, frame, timestamp, filename, True)

    def _add_sample_data(
        self, channel: str, frame: int, timestamp: int, filename: str, is_key: bool
    ) -> None:
        is_camera = channel in CAMERAS
        self.tables['sample_data'].append(
            {
                'token': self._token('sample_data', channel, timestamp),
                'sample_token': self._token('sample', frame),
                'ego_pose_token': self._token('ego_pose', timestamp),
                'calibrated_sensor_token': token(self.seed, 'calibration', channel),
                'timestamp': timestamp,
                'fileformat': 'jpg' if is_camera else 'pcd',
                'is_key_frame': is_key,
                'height': 900 if is_camera else 0,
                'width': 1600 if is_camera else 0,
                'filename': filename,
            }
        )

    def _annotate(self, frame: int, time_s: float, scan: Scan) -> None:
        """Annotation rows of the objects in range."""
        ego = self.scene.ego_pose(time_s)
        poses = self.scene.actor_poses(time_s)
        centres = to_local(_LIDAR_TO_EGO, to_local(ego, poses[:, :2]))
        in_range = np.abs(centres).max(axis=1) < ANNOTATION_RANGE_M
        for index in np.nonzero(in_range)[0].tolist():
            actor, (x, y, yaw) = self.scene.actors[index], poses[index]
            length, width, height = actor.size
            z = GROUND_CLEARANCE_M + height / 2
            inside = points_in_box(
                scan.points,
                np.array([*centres[index], z - LIDAR_TRANSLATION[2]]),
                actor.size,
                yaw - ego[2] - LIDAR_YAW,
            )
            self.tables['sample_annotation'].append(
                {
                    'token': self._token('annotation', index, frame),
                    'sample_token': self._token('sample', frame),
                    'instance_token': self._token('instance', index),
                    'visibility_token': _visibility_token(scan.visible[index]),
                    'attribute_tokens': [token(self.seed, actor.attribute)] * bool(actor.attribute),
                    'translation': rounded([x, y, z]),
                    'size': rounded([width, length, height]),
                    'rotation': yaw_quaternion(yaw),
                    'num_lidar_pts': int(inside.sum()),
                    'num_radar_pts': 0,
                }
            )

    def _add_scene(self) -> None:
        log, samples = self._token('log'), self.tables['sample']
        self.tables['scene'].append(
            {
                'token': self._token('scene'),
                'log_token': log,
                'nbr_samples': len(samples),
                'first_sample_token': samples[0]['token'],
                'last_sample_token': samples[-1]['token'],
                'name': self.name,
                'description': self.scene.street.describe(),
            }
        )
        date = datetime.fromtimestamp(self.start_us / 1e6, timezone.utc).strftime('%Y-%m-%d')
        self.tables['log'].append(
            {
                'token': log,
                'logfile': f'lidarsim-{self.name}',
                'vehicle': 'lidarsim',
                'date_captured': date,
                'location': 'lidarsim',
            }
        )

    def _add_instances(self) -> None:
        chains: dict[str, list[str]] = {}
        for row in self.tables['sample_annotation']:
            chains.setdefault(row['instance_token'], []).append(row['token'])
        for index, actor in enumerate(self.scene.actors):
            chain = chains.get(self._token('instance', index))
            if chain is not None:
                self.tables['instance'].append(
                    {
                        'token': self._token('instance', index),
                        'category_token': token(self.seed, KINDS[actor.kind].category),
                        'nbr_annotations': len(chain),
                        'first_annotation_token': chain[0],
                        'last_annotation_token': chain[-1],
                    }
                )

    def _token(self, *names: object) -> str:
        return token(self.seed, self.name, *names)

    def _timestamp(self, time_s: float) -> int:
        return self.start_us + round(time_s * 1e6)


def points_in_box(
    points: np.ndarray, centre: np.ndarray, size: np.ndarray, yaw: float
) -> np.ndarray:
    """Which points (P, >=3) lie in a box of size (length, width, height), borders included."""
    offset = points[:, :3] - centre
    near = np.abs(offset).max(axis=1) <= np.hypot(*size[:2]) / 2 + size[2]
    inside = np.zeros(len(points), bool)
    horizontal = to_local(np.array([0.0, 0.0, yaw]), offset[near, :2])
    local = np.column_stack([horizontal, offset[near, 2]])
    inside[near] = (np.abs(local) <= np.asarray(size) / 2).all(axis=1)
    return inside


def _link(rows: list[dict], key: Callable[[dict], str]) -> None:
    """Fill prev and next of the rows that share a key, in their order."""
    last: dict[str, dict] = {}
    for row in rows:
        row['prev'], row['next'] = '', ''
        previous = last.get(key(row))
        if previous is not None:
            row['prev'], previous['next'] = previous['token'], row['token']
        last[key(row)] = row


def _visibility_token(share: float) -> str:
    return str(1 + int(np.digitize(share, [0.4, 0.6, 0.8])))

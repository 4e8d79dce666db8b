"""The nuScenes v1.0 tables, as far as info files need them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np

LIDAR = 'LIDAR_TOP'
CAMERAS = (
    'CAM_FRONT',
    'CAM_FRONT_RIGHT',
    'CAM_FRONT_LEFT',
    'CAM_BACK',
    'CAM_BACK_LEFT',
    'CAM_BACK_RIGHT',
)
VERSIONS = ('v1.0-trainval', 'v1.0-mini')


class NuScenesTables:
    """Rows of the nine tables behind the info files, joined by their tokens.

    Of ``sample_data``, only the LiDAR's rows and the cameras' key frames are kept: the rest is
    most of the table, and nothing here reads it.

    Args:
        root: Folder of the data set, with ``samples/``, ``sweeps/`` and the version's folder.
        version: ``'v1.0-trainval'`` or ``'v1.0-mini'``.
        read: Gives the rows of a table by its name; None reads the JSON files of the version.

    Raises:
        FileNotFoundError: The root, the version's folder or one of its tables is not there.
        ValueError: A table is not JSON, as after a download that was cut short.
    """

    def __init__(
        self,
        root: str | Path,
        version: str,
        read: Callable[[str], Sequence[dict]] | None = None,
    ) -> None:
        self.root, self.version = Path(root), version
        read = read or partial(read_table, self.root, version)
        channels = {row['token']: row['channel'] for row in read('sensor')}
        self.calibrations = {row['token']: row for row in read('calibrated_sensor')}
        self.channels = {
            token: channels[row['sensor_token']] for token, row in self.calibrations.items()
        }
        self.samples, self.scenes = read('sample'), read('scene')
        # The two big tables come one after the other, and most of their rows go at once.
        self.sample_data = {
            row['token']: row for row in read('sample_data') if self._is_needed(row)
        }
        poses = {row['ego_pose_token'] for row in self.sample_data.values()}
        self.ego_poses = {row['token']: row for row in read('ego_pose') if row['token'] in poses}
        self.annotations = {row['token']: row for row in read('sample_annotation')}
        categories = {row['token']: row['name'] for row in read('category')}
        self.categories = {
            row['token']: categories[row['category_token']] for row in read('instance')
        }
        self.timestamps = {row['token']: row['timestamp'] for row in self.samples}

    @cached_property
    def keyframes(self) -> dict[str, dict[str, dict]]:
        """Rows of ``sample_data`` by sample token and channel."""
        found: dict[str, dict[str, dict]] = defaultdict(dict)
        for row in self.sample_data.values():
            if row['is_key_frame']:
                found[row['sample_token']][self.channel(row)] = row
        return found

    @cached_property
    def boxes(self) -> dict[str, list[dict]]:
        """Rows of ``sample_annotation`` by sample token."""
        found: dict[str, list[dict]] = defaultdict(list)
        for row in self.annotations.values():
            found[row['sample_token']].append(row)
        return found

    def channel(self, sample_data: Mapping) -> str:
        """Name of the sensor that made a row of ``sample_data``."""
        return self.channels[sample_data['calibrated_sensor_token']]

    def sensor2ego(self, sample_data: Mapping) -> np.ndarray:
        """(4, 4) transform from the row's sensor to the ego vehicle, in metres."""
        return transforms([self.calibrations[sample_data['calibrated_sensor_token']]])[0]

    def ego2global(self, sample_data: Mapping) -> np.ndarray:
        """(4, 4) transform from the ego vehicle at the row's time to the map, in metres."""
        return transforms([self.ego_poses[sample_data['ego_pose_token']]])[0]

    def sweeps_before(self, keyframe: Mapping, most: int) -> list[dict]:
        """The LiDAR's rows before a key frame, latest first; earlier key frames are among them."""
        rows: list[dict] = []
        row = keyframe
        while row['prev'] and len(rows) < most:
            row = self.sample_data[row['prev']]
            rows.append(row)
        return rows

    def velocity(self, annotation: Mapping) -> np.ndarray:
        """Velocity (2,) over the ground in m/s, from the annotations before and after.

        NaN where there is neither, or where they are more than 1.5 s apart (3 s where there are
        both), as in the devkit.
        """
        before = self.annotations.get(annotation['prev'], annotation)
        after = self.annotations.get(annotation['next'], annotation)
        has_both = before is not annotation and after is not annotation
        seconds = (self._time_us(after) - self._time_us(before)) / 1e6
        if before is after or seconds > (3.0 if has_both else 1.5):
            return np.full(2, np.nan)
        return np.subtract(after['translation'], before['translation'])[:2] / seconds

    def require_point_files(self, scenes: Iterable[str], max_sweeps: int) -> None:
        """Check that the point files of some scenes' key frames and sweeps are there.

        Args:
            scenes: Tokens.
            max_sweeps: How many sweeps before a key frame are used.

        Raises:
            FileNotFoundError: With the number of missing files, the first, and what to do.
        """
        wanted = set(scenes)
        files: dict[str, None] = {}
        for sample in self.samples:
            if sample['scene_token'] in wanted:
                keyframe = self.keyframes[sample['token']][LIDAR]
                rows = [keyframe, *self.sweeps_before(keyframe, max_sweeps)]
                files.update(dict.fromkeys(row['filename'] for row in rows))
        missing = missing_files(self.root, files)
        if not missing:
            return
        in_samples = [file for file in missing if file.startswith('samples/')]
        advice = (
            'The download is incomplete: unpack the remaining archives into the same folder'
            if in_samples
            else 'Unpack the archives with sweeps/ too, or use key frames alone: --max-sweeps 0'
        )
        raise FileNotFoundError(
            f'{len(missing)} of {len(files)} LiDAR files of {self.version} are not below '
            f'{self.root}, {len(in_samples)} of them key frames; the first is {missing[0]}.\n'
            f'{advice}; --allow-partial leaves scenes without all their files out.'
        )

    def complete_scenes(self, max_sweeps: int) -> set[str]:
        """Tokens of the scenes all of whose point files are there."""
        files: dict[str, set[str]] = defaultdict(set)
        for sample in self.samples:
            keyframe = self.keyframes[sample['token']][LIDAR]
            rows = [keyframe, *self.sweeps_before(keyframe, max_sweeps)]
            files[sample['scene_token']].update(row['filename'] for row in rows)
        missing = set(missing_files(self.root, {file for some in files.values() for file in some}))
        return {scene for scene, some in files.items() if not some & missing}

    def _is_needed(self, row: Mapping) -> bool:
        channel = self.channel(row)
        return channel == LIDAR or (channel in CAMERAS and row['is_key_frame'])

    def _time_us(self, annotation: Mapping) -> int:
        return self.timestamps[annotation['sample_token']]


def read_table(root: Path, version: str, table: str) -> list[dict]:
    """Rows of one table's JSON file.

    Raises:
        FileNotFoundError: The root, the version's folder or the table is not there.
        ValueError: The table is not JSON, as after a download that was cut short.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f'there is no folder {root} (seen from {Path.cwd()}); --root-path is the folder '
            f'with samples/, sweeps/, maps/ and {version}/'
        )
    path = root / version / f'{table}.json'
    if not path.parent.is_dir():
        versions = sorted(folder.name for folder in root.glob('v1.0-*') if folder.is_dir())
        found = f'it has {", ".join(versions)}' if versions else 'it has no v1.0-* folder at all'
        raise FileNotFoundError(
            f'{root} has no {version}/: {found}; name another one with --version, or unpack '
            "the metadata archive of this version into the data set's folder"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: unpack the version's metadata archive again, it has 13 tables"
        )
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(
            f'{path} is no complete JSON file ({error}): unpack the metadata archive again'
        ) from error


def transforms(rows: Sequence[Mapping]) -> np.ndarray:
    """(N, 4, 4) transforms of rows with ``rotation`` (w, x, y, z) and ``translation`` in metres."""
    quaternions = np.array([row['rotation'] for row in rows], float).reshape(-1, 4)
    # Norm by norm: the sum over an axis rounds otherwise, and equal rows give equal bytes.
    norms = np.array([np.linalg.norm(quaternion) for quaternion in quaternions])
    w, x, y, z = (quaternions / norms[:, None]).T
    result = np.tile(np.eye(4), (len(rows), 1, 1))
    result[:, 0, :3] = np.stack(
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
    ).T
    result[:, 1, :3] = np.stack(
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]
    ).T
    result[:, 2, :3] = np.stack(
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    ).T
    result[:, :3, 3] = np.array([row['translation'] for row in rows], float).reshape(-1, 3)
    return result


def missing_files(root: Path, files: Iterable[str]) -> list[str]:
    """The files that are not below a folder; each folder is listed once, not each file asked."""
    there: dict[Path, set[str]] = {}
    missing = []
    for file in files:
        folder = (root / file).parent
        if folder not in there:
            there[folder] = {e.name for e in folder.iterdir()} if folder.is_dir() else set()
        if Path(file).name not in there[folder]:
            missing.append(file)
    return missing

"""Where a KITTI frame's cameras and LiDAR are: one file of ``calib/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Name in the file and number of values; the projections are (3, 4), the rectification (3, 3).
_ROWS = {
    **{f'P{camera}': 12 for camera in range(4)},
    'R0_rect': 9,
    'Tr_velo_to_cam': 12,
    'Tr_imu_to_velo': 12,
}
_FAR_M = 100.0
_NEAR_M = 0.001


@dataclass(frozen=True)
class Calibration:
    """Transforms of one frame, all (4, 4), in metres and pixels.

    Args:
        projections: From rectified camera coordinates to the image, of cameras 0 to 3.
        rectification: From camera 0's coordinates to rectified ones.
        velo_to_cam: From the LiDAR's coordinates to camera 0's.
        imu_to_velo: From the IMU's coordinates to the LiDAR's.
    """

    projections: tuple[np.ndarray, ...]
    rectification: np.ndarray
    velo_to_cam: np.ndarray
    imu_to_velo: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read a file of ``calib/``.

        Raises:
            FileNotFoundError: It is not there.
            ValueError: A row is missing, or has another number of values.
        """
        rows = {}
        for line in path.read_text().splitlines():
            name, _, values = line.partition(':')
            rows[name.strip()] = values.split()
        for name, count in _ROWS.items():
            if len(rows.get(name, ())) != count:
                raise ValueError(
                    f'{path}: expected {count} values behind "{name}:", found '
                    f"{len(rows.get(name, ()))}; is it a file of the object data set's calib/?"
                )
        found = {name: _extended(rows[name]) for name in _ROWS}
        return cls(
            tuple(found[f'P{camera}'] for camera in range(4)),
            found['R0_rect'],
            found['Tr_velo_to_cam'],
            found['Tr_imu_to_velo'],
        )

    @property
    def lidar2cam(self) -> np.ndarray:
        """(4, 4) transform from the LiDAR's coordinates to rectified camera coordinates."""
        return self.rectification @ self.velo_to_cam

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) of the LiDAR in rectified camera coordinates, in metres."""
        return points @ self.lidar2cam[:3, :3].T + self.lidar2cam[:3, 3]

    def project(self, points: np.ndarray, camera: int = 2) -> np.ndarray:
        """(N, 3) column and row in pixels and depth in metres of points (N, 3) before a camera."""
        projection = self.projections[camera]
        scaled = points @ projection[:3, :3].T + projection[:3, 3]
        return np.column_stack([scaled[:, :2] / scaled[:, 2:], scaled[:, 2]])

    def in_image(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Which points of the LiDAR the colour camera sees.

        Args:
            points: (N, 3+) x, y, z in metres.
            size: Width and height of the image in pixels.

        Returns:
            (N,) bool.
        """
        with np.errstate(divide='ignore', invalid='ignore'):
            columns, rows, depths = self.project(self.to_camera(points[:, :3].astype(float))).T
        inside = (columns > 0) & (columns < size[0]) & (rows > 0) & (rows < size[1])
        return inside & (depths > _NEAR_M) & (depths < _FAR_M)


def _extended(values: list[str]) -> np.ndarray:
    """A (3, 3) or (3, 4) transform as (4, 4)."""
    matrix = np.eye(4)
    rows = np.array(values, float).reshape(3, -1)
    matrix[:3, : rows.shape[1]] = rows
    return matrix

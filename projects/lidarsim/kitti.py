"""One simulated scene as frames of the KITTI object data set."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np

from kitti_infos import Calibration, Label
from lidarsim.database import KEYFRAME_INTERVAL_S
from lidarsim.pose import rotate, to_local, to_parent
from lidarsim.scene import GROUND_CLEARANCE_M, Scene
from lidarsim.sensor import Lidar, Scan
from lidarsim.street import Street

ELEVATIONS_RAD = np.deg2rad(np.linspace(-24.8, 2.0, 64))
"""Beam elevations of a Velodyne HDL-64E, lowest first."""

LIDAR_X_M, LIDAR_HEIGHT_M = 0.94, 1.73
IMAGE_SIZE = (1242, 375)
LABEL_RANGE_M = 32.0
"""What lies farther ahead of the camera is DontCare: the simulated street ends soon behind."""

_CLASSES = {
    'car': 'Car',
    'pedestrian': 'Pedestrian',
    'child': 'Pedestrian',
    'worker': 'Pedestrian',
    'cyclist': 'Cyclist',
    'truck': 'Truck',
    'bus': 'Misc',
    'trailer': 'Misc',
    'construction_vehicle': 'Misc',
    'motorcyclist': 'Misc',
}
"""Kinds without an entry (cones, barriers, what is parked without a rider) are not labelled."""

_DONT_CARE = {'size': (-1.0,) * 3, 'location': (-1000.0,) * 3, 'rotation_y': -10.0}
_OCCLUSION = (0.7, 0.3)
"""At least this share of an object's rays reaches it: level 0; level 1; below it is level 2."""

_NEAR_M = 0.1


class KittiSceneWriter:
    """Simulates one scene and writes its frames.

    Args:
        root: Folder of the data set.
        part: ``'training'``, or ``'testing'``, which has no labels.
        name: Scene name; its number and the seed decide everything.
        first: Number of the first frame.
        seed: Seed of the data set.
        frames: Frames, at 2 Hz.
        azimuths: Rays per beam and revolution.
    """

    def __init__(
        self, root: Path, part: str, name: str, first: int, seed: int, frames: int, azimuths: int
    ) -> None:
        self.folder = root / part
        self.has_labels = part == 'training'
        self.first, self.frames = first, frames
        self.rng = np.random.default_rng([seed, int(name.split('-')[1])])
        self.scene = Scene(Street(self.rng, (frames - 1) * KEYFRAME_INTERVAL_S))
        self.lidar = Lidar(azimuths, height_m=LIDAR_HEIGHT_M, elevations_rad=ELEVATIONS_RAD)
        self.calibration = calibration()

    def run(self) -> list[int]:
        """Write the frames; returns the numbers of those that show a labelled object."""
        written = []
        for frame in range(self.frames):
            time_s = frame * KEYFRAME_INTERVAL_S
            ego = self.scene.ego_pose(time_s)
            sensor = np.array([*to_parent(ego, np.array([LIDAR_X_M, 0.0])), ego[2]])
            scan = self._scan(time_s, sensor)
            labels = self._labels(time_s, sensor, scan)
            if any(label.name != 'DontCare' for label in labels):
                self._write(self.first + frame, scan, labels)
                written.append(self.first + frame)
        return written

    def _scan(self, time_s: float, sensor: np.ndarray) -> Scan:
        def ground_reflectivity(xy: np.ndarray) -> np.ndarray:
            return self.scene.street.road.reflectivity(to_parent(sensor, xy))

        boxes = self.scene.boxes(time_s, sensor, self.lidar.height_m)
        return self.lidar.scan(boxes, len(self.scene.actors) + 1, ground_reflectivity, self.rng)

    def _labels(self, time_s: float, sensor: np.ndarray, scan: Scan) -> list[Label]:
        """Labels of what some ray reaches and the camera shows, DontCare last."""
        poses = self.scene.actor_poses(time_s)
        centres, yaws = to_local(sensor, poses[:, :2]), poses[:, 2] - sensor[2]
        labels, far = [], []
        for actor, xy, yaw, visible in zip(
            self.scene.actors, centres, yaws, scan.visible, strict=False
        ):
            name = _CLASSES.get(actor.kind)
            bottom = np.array([*xy, GROUND_CLEARANCE_M - LIDAR_HEIGHT_M])
            if name is None or visible == 0:
                continue
            label = self._label(name, bottom, actor.size, yaw, visible)
            if label is not None:
                (labels if label.name == name else far).append(label)
        return labels + far

    def _label(
        self, name: str, bottom: np.ndarray, size: np.ndarray, yaw: float, visible: float
    ) -> Label | None:
        """The label of a box, given in the LiDAR's coordinates; None where no image shows it."""
        (location,) = self.calibration.to_camera(bottom[None])
        shown = _image_box(self.calibration, _corners(bottom, size, yaw))
        if location[2] <= 0 or shown is None:
            return None
        bbox, truncated = shown
        if location[2] > LABEL_RANGE_M:
            return Label('DontCare', -1, -1, -10, bbox, **_DONT_CARE)
        length, width, height = size
        rotation = _wrapped(-yaw - np.pi / 2)
        return Label(
            name,
            truncated,
            sum(visible < share for share in _OCCLUSION),
            _wrapped(rotation - np.arctan2(location[0], location[2])),
            bbox,
            (height, width, length),
            tuple(location),
            rotation,
        )

    def _write(self, index: int, scan: Scan, labels: list[Label]) -> None:
        name = f'{index:06d}'
        points = scan.points[:, :4].copy()
        points[:, 3] = np.round(points[:, 3] / 255, 2)
        (self.folder / 'velodyne' / f'{name}.bin').write_bytes(points.tobytes())
        (self.folder / 'calib' / f'{name}.txt').write_text(calibration_text())
        (self.folder / 'image_2' / f'{name}.png').write_bytes(_black_image())
        if self.has_labels:
            text = ''.join(f'{label.line()}\n' for label in labels)
            (self.folder / 'label_2' / f'{name}.txt').write_text(text)


@cache
def calibration() -> Calibration:
    """Four cameras that look ahead, turned a little against the LiDAR as real ones are."""
    intrinsic = np.array([[720.0, 0, 610, 0], [0, 720, 175, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    projections = []
    for shift in (0.0, -387.0, 45.0, -339.0):  # focal length times distance from camera 0
        projection = intrinsic.copy()
        projection[0, 3] = shift
        projections.append(projection)
    velo_to_cam, imu_to_velo = np.eye(4), np.eye(4)
    # x right, y down, z ahead of the camera; x ahead, y left, z up of the LiDAR.
    axes = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    velo_to_cam[:3, :3] = _turn(0, 0.006) @ _turn(1, -0.007) @ axes
    velo_to_cam[:3, 3] = [0.0, -0.08, -0.27]
    imu_to_velo[:3, 3] = [-0.81, 0.32, -0.8]
    rectification = np.eye(4)
    rectification[:3, :3] = _turn(2, 0.004) @ _turn(1, 0.007)
    return Calibration(tuple(projections), rectification, velo_to_cam, imu_to_velo)


@cache
def calibration_text() -> str:
    """The frames' ``calib/`` file, in the order and form of the official ones."""
    own = calibration()
    rows = {f'P{camera}': matrix[:3] for camera, matrix in enumerate(own.projections)}
    rows['R0_rect'] = own.rectification[:3, :3]
    rows['Tr_velo_to_cam'] = own.velo_to_cam[:3]
    rows['Tr_imu_to_velo'] = own.imu_to_velo[:3]
    lines = (
        f'{name}: ' + ' '.join(f'{number:.12e}' for number in matrix.ravel())
        for name, matrix in rows.items()
    )
    return '\n'.join(lines) + '\n\n'


def _image_box(
    calibration: Calibration, corners: np.ndarray
) -> tuple[tuple[float, ...], float] | None:
    """Box in the image around corners (8, 3) of the LiDAR's coordinates, and its share outside."""
    points = calibration.to_camera(corners)
    ends = points[_EDGES]
    behind = ends[..., 2] < _NEAR_M
    crossing = ends[behind.any(1) & ~behind.all(1)]
    share = (_NEAR_M - crossing[:, 0, 2]) / (crossing[:, 1, 2] - crossing[:, 0, 2])
    cut = crossing[:, 0] + share[:, None] * (crossing[:, 1] - crossing[:, 0])
    before = np.concatenate([points[points[:, 2] >= _NEAR_M], cut])
    if not len(before):
        return None
    pixels = calibration.project(before)[:, :2]
    low, high = pixels.min(0), pixels.max(0)
    last = np.array(IMAGE_SIZE) - 1.0
    shown_low, shown_high = low.clip(0, last), high.clip(0, last)
    if (shown_high - shown_low < 1).any():
        return None
    outside = 1 - float(np.prod(shown_high - shown_low) / np.prod(high - low))
    return (*shown_low.tolist(), *shown_high.tolist()), outside


_EDGES = np.array([(a, b) for a in range(8) for b in range(a) if bin(a ^ b).count('1') == 1])
"""Pairs of corners that differ in one of the three directions."""


def _corners(bottom: np.ndarray, size: np.ndarray, yaw: float) -> np.ndarray:
    """Corners (8, 3) of an upright box; bits of their number say front, left, top."""
    front, left, top = (np.arange(8) >> bit & 1 for bit in range(3))
    xy = np.column_stack([(front - 0.5) * size[0], (left - 0.5) * size[1]])
    return np.column_stack([rotate(xy, yaw), top * size[2]]) + bottom


def _turn(axis: int, angle: float) -> np.ndarray:
    """Rotation (3, 3) about one of the axes."""
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i], matrix[i, j] = np.sin(angle), -np.sin(angle)
    return matrix


def _wrapped(angle: float) -> float:
    """The angle between -pi and pi."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


@cache
def _black_image() -> bytes:
    """A PNG file of the camera's size; only its size is ever read."""
    from PIL import Image

    file = BytesIO()
    Image.new('L', IMAGE_SIZE).save(file, 'PNG')
    return file.getvalue()

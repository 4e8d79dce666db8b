"""One KITTI frame as an entry of MMDetection3D's info files (version 2), and its reduced cloud."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kitti_infos.calibration import Calibration
from kitti_infos.labels import CLASSES, DONT_CARE, Label, read_labels
from nuscenes_infos import write_atomically
from nuscenes_infos.boxes import points_in_boxes

COLUMNS = 4
"""Of a point: x, y, z in metres, reflectance 0 to 1."""


@dataclass(frozen=True)
class Frames:
    """Reads frames of one part of the data set, and cuts their clouds to what the camera sees.

    Args:
        root: Folder of the data set.
        out: Folder that gets ``<part>/velodyne_reduced``.
        part: ``'training'`` or ``'testing'``.
        with_plane: Read the ground of ``planes/``, too.
        force: Write clouds that are there already.
    """

    root: Path
    out: Path
    part: str
    with_plane: bool = False
    force: bool = False

    def __call__(self, index: int) -> dict[str, Any]:
        """The entry of a frame; its reduced cloud is written if it is not there.

        Raises:
            FileNotFoundError: One of its files is missing.
            ValueError: One of its files is damaged.
        """
        name = f'{index:06d}'
        size = image_size(self._file('image_2', f'{name}.png'))
        calibration = Calibration.read(self._file('calib', f'{name}.txt'))
        points = self._reduced(name, calibration, size)
        frame = {
            'sample_idx': index,
            'images': _images(calibration, name, size),
            'lidar_points': {
                'num_pts_feats': COLUMNS,
                'lidar_path': f'{name}.bin',
                'Tr_velo_to_cam': _rows(calibration.velo_to_cam),
                'Tr_imu_to_velo': _rows(calibration.imu_to_velo),
            },
            'instances': [],
        }
        if self.with_plane:
            frame['plane'] = _plane(self._file('planes', f'{name}.txt'))
        if self.part == 'training':
            labels = read_labels(self._file('label_2', f'{name}.txt'))
            frame['instances'] = _instances(labels, calibration, points)
        return frame

    def _file(self, folder: str, name: str) -> Path:
        path = self.root / self.part / folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f'{path} is missing, and ImageSets/ names this frame: unpack the archive with '
                f'{folder}/ into {self.root}'
            )
        return path

    def _reduced(self, name: str, calibration: Calibration, size: tuple[int, int]) -> np.ndarray:
        target = self.out / self.part / 'velodyne_reduced' / f'{name}.bin'
        if target.is_file() and not self.force:
            return _read_cloud(target)
        points = _read_cloud(self._file('velodyne', f'{name}.bin'))
        points = points[calibration.in_image(points, size)]
        write_atomically(target, points.tobytes())
        return points


def metainfo(frames: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What an info file says of its frames: label -1 is DontCare, where there is any."""
    categories = {name: number for number, name in enumerate(CLASSES)}
    if any(box['bbox_label'] < 0 for frame in frames for box in frame['instances']):
        categories[DONT_CARE] = -1
    return {'categories': categories, 'dataset': 'kitti', 'info_version': '1.1'}


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image in pixels, from its first bytes."""
    from PIL import Image

    with Image.open(path) as image:
        return image.size


def camera_to_lidar(boxes: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Boxes (N, 7) of ``Label.box`` in the LiDAR's coordinates.

    Returns:
        (N, 7) x, y, z of the centre of the bottom, length, width, height, yaw.
    """
    boxes = np.asarray(boxes, float).reshape(-1, 7)
    cam2lidar = np.linalg.inv(calibration.lidar2cam)
    centres = boxes[:, :3] @ cam2lidar[:3, :3].T + cam2lidar[:3, 3]
    yaws = -boxes[:, 6] - np.pi / 2
    return np.column_stack([centres, boxes[:, [3, 5, 4]], yaws])


def _images(calibration: Calibration, name: str, size: tuple[int, int]) -> dict[str, Any]:
    rectification, velo_to_cam = (
        matrix.astype(np.float32) for matrix in (calibration.rectification, calibration.velo_to_cam)
    )
    lidar2cam = rectification @ velo_to_cam
    images = {
        f'CAM{camera}': {
            'cam2img': projection.tolist(),
            'lidar2img': (projection @ lidar2cam).tolist(),
        }
        for camera, projection in enumerate(calibration.projections)
    }
    images['CAM2'] |= {
        'img_path': f'{name}.png',
        'height': size[1],
        'width': size[0],
        'lidar2cam': lidar2cam.tolist(),
    }
    return {**images, 'R0_rect': rectification.tolist()}


def _instances(
    labels: Sequence[Label], calibration: Calibration, points: np.ndarray
) -> list[dict[str, Any]]:
    """The annotations of a frame; what is not to be counted has label -1 and no points."""
    boxes = np.array([label.box for label in labels]).reshape(-1, 7)
    middles = boxes[:, :3] - boxes[:, 4:5] * [0, 0.5, 0]
    seen = calibration.project(middles)
    inside = points_in_boxes(points, camera_to_lidar(boxes, calibration))
    instances, number = [], 0
    for group, label in enumerate(labels):
        is_object = label.name != DONT_CARE
        known = CLASSES.index(label.name) if label.name in CLASSES else -1
        instances.append(
            {
                'bbox': list(label.bbox),
                'bbox_label': known,
                'bbox_3d': label.box,
                'bbox_label_3d': known,
                'depth': float(seen[group, 2]),
                'center_2d': seen[group, :2].tolist(),
                'num_lidar_pts': len(inside[group]) if is_object else -1,
                'difficulty': label.difficulty,
                'truncated': label.truncated,
                'occluded': label.occluded,
                'alpha': label.alpha,
                'score': 0.0,
                'index': number if is_object else -1,
                'group_id': group,
            }
        )
        number += is_object
    return instances


def _read_cloud(path: Path) -> np.ndarray:
    """Points (N, 4) of a file."""
    values = np.fromfile(path, np.float32)
    if len(values) % COLUMNS:
        raise ValueError(
            f'{path} has {len(values)} float32 values, which is no multiple of {COLUMNS}: it is '
            'cut short, or its points have other columns than x, y, z, reflectance'
        )
    return values.reshape(-1, COLUMNS)


def _plane(path: Path) -> list[float]:
    """The four coefficients of the ground, in camera coordinates: the file's fourth line."""
    return [float(value) for value in path.read_text().splitlines()[3].split()]


def _rows(matrix: np.ndarray) -> list[list[float]]:
    return matrix.astype(np.float32).tolist()

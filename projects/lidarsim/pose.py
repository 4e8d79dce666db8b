"""Planar poses: x, y in metres and yaw in radians of a frame in its parent frame."""

import numpy as np


def rotate(xy: np.ndarray, yaw) -> np.ndarray:
    """Points (..., 2) turned by `yaw` (a number, or one per point)."""
    x, y = xy[..., 0], xy[..., 1]
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def to_parent(pose: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Points (..., 2) of a frame, or one for each frame, in the parent frame.

    Args:
        pose: (3,) or (..., 3) x, y, yaw.
        xy: Points in the frame of `pose`.
    """
    return rotate(xy, pose[..., 2]) + pose[..., :2]


def to_local(pose: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """The inverse of `to_parent`."""
    return rotate(xy - pose[..., :2], -pose[..., 2])

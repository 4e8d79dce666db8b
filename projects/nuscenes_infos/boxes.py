"""Which points lie in which box."""

from __future__ import annotations

import numpy as np


def points_in_boxes(points: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """Find the points in each box.

    Args:
        points: (P, 3+) x, y, z in metres.
        boxes: (N, 7+) x, y, z of the centre of the bottom, length, width, height, yaw.

    Returns:
        For each box the indices of its points, ascending.
    """
    found = []
    for x, y, z, length, width, height, yaw in boxes[:, :7].astype(np.float64):
        reach = np.hypot(length, width) / 2
        near = np.flatnonzero(
            (np.abs(points[:, 0] - x) < reach) & (np.abs(points[:, 1] - y) < reach)
        )
        dx, dy, dz = (points[near, :3] - np.array([x, y, z])).T
        along = np.cos(yaw) * dx + np.sin(yaw) * dy
        across = np.cos(yaw) * dy - np.sin(yaw) * dx
        inside = (np.abs(along) < length / 2) & (np.abs(across) < width / 2)
        found.append(near[inside & (dz > 0) & (dz < height)])
    return found

"""Which boxes of a frame a detector finds, misses and makes up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmdistill3d.visualization import Boxes

DISTANCE_M = 2.0


@dataclass(frozen=True)
class Match:
    """Predictions beside annotations.

    Args:
        is_hit: (M,) of the predictions: whether each finds an annotated box.
        is_found: (N,) of the annotated boxes: whether each is found.
    """

    is_hit: np.ndarray
    is_found: np.ndarray

    @property
    def false_alarms(self) -> int:
        """Predictions where nothing of their class is annotated."""
        return int((~self.is_hit).sum())

    def differs_from(self, other: Match) -> int:
        """Annotated boxes that one finds and the other misses, and what one makes up more."""
        found = int((self.is_found != other.is_found).sum())
        return found + abs(self.false_alarms - other.false_alarms)


def match(truth: Boxes, predictions: Boxes, distance_m: float = DISTANCE_M) -> Match:
    """Match boxes of a class by the distance of their centres on the ground, best scores first.

    Source: H. Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020;
    of its four distances the one that its errors are measured at.

    Args:
        truth: Annotated boxes.
        predictions: With scores.
        distance_m: How far apart the two centres of a hit may be, in metres.
    """
    is_hit = np.zeros(len(predictions.boxes), bool)
    is_found = np.zeros(len(truth.boxes), bool)
    if not len(is_found):
        return Match(is_hit, is_found)
    for index in np.argsort(-predictions.scores, kind='stable'):
        apart = np.linalg.norm(truth.boxes[:, :2] - predictions.boxes[index, :2], axis=1)
        apart[is_found | (truth.labels != predictions.labels[index])] = np.inf
        nearest = apart.argmin()
        if apart[nearest] < distance_m:
            is_hit[index] = is_found[nearest] = True
    return Match(is_hit, is_found)


def seen(truth: Boxes, points: np.ndarray, range_m: float) -> Boxes:
    """Keep annotated boxes that can be found: of known classes, in range, with points inside.

    Args:
        truth: Annotated boxes.
        points: ``(P, >=3)`` the cloud.
        range_m: Half the width of what the detector sees, in metres.
    """
    boxes = np.asarray(truth.boxes, float)
    keep = (truth.labels >= 0) & (np.abs(boxes[:, :2]).max(axis=1, initial=0) < range_m)
    for index in np.flatnonzero(keep):
        x, y, _, length, width, _, yaw = boxes[index, :7]
        dx, dy = points[:, 0] - x, points[:, 1] - y
        along = dx * np.cos(yaw) + dy * np.sin(yaw)
        across = dy * np.cos(yaw) - dx * np.sin(yaw)
        inside = (np.abs(along) < length / 2) & (np.abs(across) < width / 2)
        above_ground = points[:, 2] > boxes[index, 2] - boxes[index, 5] / 2 + 0.1
        keep[index] = (inside & above_ground).any()
    return Boxes(boxes[keep], truth.labels[keep])

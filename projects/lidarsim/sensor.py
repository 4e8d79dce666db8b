"""A spinning LiDAR that sees boxes and a ground plane, all rays at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ELEVATIONS_RAD = np.deg2rad(np.linspace(-30.67, 10.67, 32))
"""Beam elevations of a Velodyne HDL-32E, lowest first; the index is the ring number."""

GROUND = -1
"""Stands for the ground where the index of a box would be."""


@dataclass
class Boxes:
    """Upright boxes in the sensor frame (x right, y forward, z up; metres).

    Args:
        centre_xy: (N, 2).
        yaw: (N,) radians.
        half_size: (N, 2) half length and half width.
        z_range: (N, 2) lowest and highest z.
        reflectivity: (N,) in 0..1.
        owner: (N,) integer index of the object that a box belongs to.
    """

    centre_xy: np.ndarray
    yaw: np.ndarray
    half_size: np.ndarray
    z_range: np.ndarray
    reflectivity: np.ndarray
    owner: np.ndarray


@dataclass
class Scan:
    """One revolution of the sensor.

    Args:
        points: (P, 5) float32: x, y, z in metres (sensor frame, rounded to 1 mm), intensity in
            0..255, ring.
        visible: (num_owners,) share in 0..1 of the rays towards an object that reach it.
    """

    points: np.ndarray
    visible: np.ndarray


class Lidar:
    """Casts azimuths x beams rays at boxes and ground.

    Every box is tested only in the azimuth columns that it spans. All (box, column) pairs are
    computed together, and a z-buffer keeps the nearest return of each ray.

    Args:
        azimuths: Rays per revolution and beam.
        height_m: Height of the sensor above the ground plane.
        max_range_m: Returns from farther away are lost.
        noise_m: Standard deviation of a range.
        elevations_rad: (beams,) elevation of each beam, lowest first.
    """

    def __init__(
        self,
        azimuths: int = 540,
        height_m: float = 1.84,
        max_range_m: float = 55.0,
        noise_m: float = 0.012,
        elevations_rad: np.ndarray = ELEVATIONS_RAD,
    ) -> None:
        self.azimuths = azimuths
        self.height_m = height_m
        self.max_range_m = max_range_m
        self.noise_m = noise_m
        self.elevations_rad = elevations_rad
        self._slope = np.tan(elevations_rad)
        self._sin = np.abs(np.sin(elevations_rad))
        self._cos = np.cos(elevations_rad)

    def scan(
        self,
        boxes: Boxes,
        num_owners: int,
        ground_reflectivity: Callable[[np.ndarray], np.ndarray],
        rng: np.random.Generator,
    ) -> Scan:
        """Measure one sweep.

        Args:
            boxes: What stands on the ground.
            num_owners: Owners are numbered 0 .. num_owners - 1.
            ground_reflectivity: Callable from (P, 2) sensor-frame positions to (P,) reflectivity.
            rng: Random generator of this sweep.

        Returns:
            The points, and how much of each object was visible.
        """
        offset = rng.uniform(0, 2 * np.pi / self.azimuths)
        azimuth = offset + np.arange(self.azimuths) * (2 * np.pi / self.azimuths)
        pair_box, pair_column = self._columns(boxes, offset)
        distance, cosine = self._intersect(boxes, pair_box, azimuth[pair_column])

        nearest, winner = self._z_buffer(distance, pair_column)
        visible = self._visibility(distance, nearest, boxes, pair_box, pair_column, num_owners)

        column, beam = np.nonzero(nearest / self._cos < self.max_range_m)
        horizontal = nearest[column, beam]
        pair = winner[column, beam]
        direction = np.stack([np.cos(azimuth[column]), np.sin(azimuth[column])], axis=1)
        reflectivity = ground_reflectivity(direction * horizontal[:, None])
        incidence = self._sin[beam]
        on_box = pair != GROUND
        reflectivity[on_box] = boxes.reflectivity[pair_box[pair[on_box]]]
        incidence[on_box] = cosine[pair[on_box], beam[on_box]]
        return Scan(
            self._measure(horizontal, direction, beam, reflectivity, incidence, rng), visible
        )

    def _columns(self, boxes: Boxes, offset: float) -> tuple[np.ndarray, np.ndarray]:
        """All pairs of a box and an azimuth column that may hit it, sorted by column."""
        step = 2 * np.pi / self.azimuths
        along = np.stack([np.cos(boxes.yaw), np.sin(boxes.yaw)], axis=1) * boxes.half_size[:, :1]
        across = np.stack([-np.sin(boxes.yaw), np.cos(boxes.yaw)], axis=1) * boxes.half_size[:, 1:]
        centre = np.arctan2(boxes.centre_xy[:, 1], boxes.centre_xy[:, 0])
        corners = boxes.centre_xy + np.stack(
            [along + across, along - across, -along + across, -along - across]
        )
        spread = np.arctan2(corners[..., 1], corners[..., 0]) - centre
        spread = (spread + np.pi) % (2 * np.pi) - np.pi
        first = np.ceil((centre + spread.min(0) - offset) / step).astype(int)
        count = np.floor((centre + spread.max(0) - offset) / step).astype(int) - first + 1
        near = np.hypot(*boxes.centre_xy.T) - np.hypot(*boxes.half_size.T) < self.max_range_m
        count = np.where(near, np.maximum(count, 0), 0)

        box = np.repeat(np.arange(len(count)), count)
        start = np.cumsum(count) - count
        column = (first[box] + np.arange(len(box)) - start[box]) % self.azimuths
        order = np.argsort(column, kind='stable')
        return box[order], column[order]

    def _intersect(
        self, boxes: Boxes, pair_box: np.ndarray, azimuth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Horizontal distance (pairs, beams), inf where missed, and cosine of incidence."""
        sin, cos = np.sin(boxes.yaw[pair_box]), np.cos(boxes.yaw[pair_box])
        centre, half = boxes.centre_xy[pair_box], boxes.half_size[pair_box]
        origin = -np.stack(
            [cos * centre[:, 0] + sin * centre[:, 1], cos * centre[:, 1] - sin * centre[:, 0]], 1
        )
        relative = azimuth - boxes.yaw[pair_box]
        ray = np.stack([np.cos(relative), np.sin(relative)], axis=1)
        ray = np.where(np.abs(ray) < 1e-9, 1e-9, ray)
        slabs = np.sort(np.stack([(-half - origin) / ray, (half - origin) / ray]), axis=0)
        enter, leave = slabs[0].max(axis=1), slabs[1].min(axis=1)
        face_cosine = np.abs(ray)[np.arange(len(ray)), slabs[0].argmax(axis=1)]

        height = enter[:, None] * self._slope
        low, high = boxes.z_range[pair_box, :1], boxes.z_range[pair_box, 1:]
        on_side = (low <= height) & (height <= high)
        lid = np.where(height > high, high, low) / self._slope
        on_lid = (enter[:, None] <= lid) & (lid <= leave[:, None])
        distance = np.where(on_side, enter[:, None], np.where(on_lid, lid, np.inf))
        distance[(enter >= leave) | (enter <= 0)] = np.inf
        cosine = np.where(on_side, face_cosine[:, None] * self._cos, self._sin)
        return distance, cosine

    def _z_buffer(
        self, distance: np.ndarray, pair_column: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Nearest horizontal distance of each ray, and the pair that it hit (or GROUND)."""
        with np.errstate(divide='ignore'):
            ground = np.where(self._slope < 0, -self.height_m / self._slope, np.inf)
        nearest = np.tile(ground, (self.azimuths, 1))
        winner = np.full(nearest.shape, GROUND)
        if len(pair_column):
            columns, starts = np.unique(pair_column, return_index=True)
            nearest[columns] = np.minimum(
                nearest[columns], np.minimum.reduceat(distance, starts, axis=0)
            )
            pair, beam = np.nonzero(np.isfinite(distance) & (distance == nearest[pair_column]))
            winner[pair_column[pair], beam] = pair
        return nearest, winner

    def _visibility(
        self,
        distance: np.ndarray,
        nearest: np.ndarray,
        boxes: Boxes,
        pair_box: np.ndarray,
        pair_column: np.ndarray,
        num_owners: int,
    ) -> np.ndarray:
        """Share of the rays towards each object that end on it."""
        owner = boxes.owner[pair_box]
        pair, beam = np.nonzero(np.isfinite(distance))
        pixel = pair_column[pair] * len(self.elevations_rad) + beam
        won = distance[pair, beam] <= nearest[pair_column[pair], beam]
        winner_of_pixel = np.full(nearest.size, -1)
        winner_of_pixel[pixel[won]] = owner[pair[won]]
        hit = np.bincount(owner[pair], minlength=num_owners)
        seen = np.bincount(
            owner[pair], weights=winner_of_pixel[pixel] == owner[pair], minlength=num_owners
        )
        return seen / np.maximum(hit, 1)

    def _measure(
        self,
        horizontal: np.ndarray,
        direction: np.ndarray,
        beam: np.ndarray,
        reflectivity: np.ndarray,
        incidence: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Range noise, lost returns and intensity."""
        distance = horizontal / self._cos[beam]
        lost = 0.02 + 0.25 * (distance / self.max_range_m) ** 2 + 0.3 * (1 - incidence) ** 8
        returned = rng.random(len(distance)) > lost
        measured = distance + self.noise_m * np.clip(rng.standard_normal(len(distance)), -3, 3)
        intensity = 255 * reflectivity * (0.35 + 0.65 * incidence) * np.exp(-distance / 80)
        intensity *= 1 + 0.08 * rng.standard_normal(len(distance))

        points = np.empty((len(distance), 5))
        points[:, :2] = direction * (measured * self._cos[beam])[:, None]
        points[:, 2] = measured * np.sin(self.elevations_rad[beam])
        points[:, 3] = np.round(np.clip(intensity, 0, 255))
        points[:, 4] = beam
        points[:, :3] = np.round(points[:, :3], 3)
        return points[returned].astype(np.float32)

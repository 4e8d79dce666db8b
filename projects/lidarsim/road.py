"""A street in road coordinates: s metres along its centre line, d metres to the left of it."""

from dataclasses import dataclass

import numpy as np

from lidarsim.pose import to_local, to_parent

LANE_M = 3.5
CYCLE_LANE_M = 1.0
PARKING_M = 3.2
SIDEWALK_M = 3.5
CROSSING_HALF_M = 6.0
"""Half the length along s that a side street takes."""


@dataclass(frozen=True)
class Road:
    """A straight or circular street with lanes, cycle lanes, parking strips and sidewalks.

    Args:
        curvature: 1 / radius in 1/m, positive to the left.
        lanes: Lanes per direction.
        origin: (x, y, yaw) of s = d = 0 in the global frame.
        crossing_s: Where a side street crosses, or None.
    """

    curvature: float
    lanes: int
    origin: tuple[float, float, float]
    crossing_s: float | None = None

    @property
    def kerb_d(self) -> float:
        """Lateral position where the cycle lane ends and the parking strip begins."""
        return self.lanes * LANE_M + CYCLE_LANE_M

    @property
    def sidewalk_d(self) -> float:
        """Lateral position where the sidewalk begins."""
        return self.kerb_d + PARKING_M

    @property
    def facade_d(self) -> float:
        """Lateral position of the nearest house fronts."""
        return self.sidewalk_d + SIDEWALK_M

    def to_world(self, s, d, heading) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Global x, y and yaw of road positions and headings (arrays of one shape)."""
        s, d = np.asarray(s, float), np.asarray(d, float)
        turn = self.curvature * s
        local = np.stack([s, d], axis=-1)
        if self.curvature:
            radius = 1 / self.curvature
            local = np.stack(
                [(radius - d) * np.sin(turn), radius - (radius - d) * np.cos(turn)], axis=-1
            )
        xy = to_parent(np.array(self.origin), local)
        return xy[..., 0], xy[..., 1], self.origin[2] + turn + heading

    def from_world(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Road coordinates s and d of global positions (P, 2)."""
        forward, left = to_local(np.array(self.origin), xy).T
        if not self.curvature:
            return forward, left
        radius = 1 / self.curvature
        side = np.sign(radius)
        turn = np.arctan2(side * forward, side * (radius - left))
        return turn * radius, radius - side * np.hypot(forward, radius - left)

    def reflectivity(self, xy: np.ndarray) -> np.ndarray:
        """Reflectivity (P,) of the ground at global positions (P, 2): asphalt, paint, pavement."""
        s, d = self.from_world(xy)
        side = np.abs(d)
        value = np.full(len(xy), 0.10)
        value[side > self.kerb_d] = 0.13
        value[side > self.sidewalk_d] = 0.26
        value[side > self.facade_d + 1] = 0.18
        dashed = (s % 6 < 3) & (side % LANE_M < 0.2) & (side > 1) & (side < self.kerb_d)
        painted = (side < 0.12) | dashed | (np.abs(side - self.kerb_d) < 0.1)
        if self.crossing_s is not None:
            from_crossing = np.abs(s - self.crossing_s)
            value[from_crossing < CROSSING_HALF_M - 1.5] = 0.10
            stripes = (from_crossing > 6.5) & (from_crossing < 9.5) & (side < self.sidewalk_d)
            painted = (painted & (from_crossing > 10)) | (stripes & (d % 1 < 0.5))
        value[painted] = 0.75
        return value

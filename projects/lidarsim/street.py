"""A procedural street: its geometry, what stands on it and what moves."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lidarsim.road import CROSSING_HALF_M, CYCLE_LANE_M, LANE_M, Road
from lidarsim.shapes import KINDS

AHEAD_M = 34.0
"""The street reaches this far beyond the ego vehicle's first and last position."""

PARKED, STOPPED, MOVING = 'vehicle.parked', 'vehicle.stopped', 'vehicle.moving'
STANDING, WALKING = 'pedestrian.standing', 'pedestrian.moving'
RIDDEN, RIDERLESS = 'cycle.with_rider', 'cycle.without_rider'


@dataclass(eq=False)
class Actor:
    """One annotated object, moving at constant velocity in road coordinates.

    Args:
        kind: Key of `KINDS`.
        s, d: Position at time 0 in metres.
        heading: Radians from the road's direction.
        attribute: nuScenes attribute name, or ''.
        speed_s, speed_d: Velocity in m/s.
        size: (3,) length, width, height in metres.
        parts: (P, 7), see `Kind.sample`.
    """

    kind: str
    s: float
    d: float
    heading: float
    attribute: str
    speed_s: float
    speed_d: float
    size: np.ndarray
    parts: np.ndarray


class Street:
    """A street that is busy enough to show all ten classes, filled at random.

    On both sides lie, from the middle outwards: one or two lanes with traffic, a cycle lane, a
    parking strip with a row of sites (road works, bus stop, loading zone, ...), a sidewalk, houses
    and gardens. Some streets have a crossing; at some crossings the ego vehicle waits at red.
    Traffic drives on the right.

    Args:
        rng: Random generator; it decides everything.
        duration_s: Time from the first to the last keyframe.

    Attributes:
        road: Geometry.
        ego_speed, ego_d: Speed (m/s) and lateral position (m) of the ego vehicle, which is at
            s = 0 at time 0.
        red_light: Whether the ego vehicle waits at a crossing.
        actors: All annotated objects.
        background: Boxes of everything else: global x, y, yaw, half length, half width, lowest z,
            highest z (metres) and reflectivity.
    """

    def __init__(self, rng: np.random.Generator, duration_s: float) -> None:
        self.rng = rng
        self.duration_s = duration_s
        self.red_light = rng.random() < 0.2
        self.ego_speed = 0.0 if self.red_light else rng.uniform(2.5, 7.5)
        self.ego_d = -LANE_M / 2
        self.end_s = self.ego_speed * duration_s
        crossing = 14.5 if self.red_light else None
        if crossing is None and rng.random() < 0.25:
            crossing = rng.uniform(0, self.end_s + 10)
        self.road = Road(
            curvature=0.0 if rng.random() < 0.4 else rng.choice([-1, 1]) / rng.uniform(65, 160),
            lanes=1 if rng.random() < 0.7 else 2,
            origin=(rng.uniform(300, 1600), rng.uniform(300, 1600), rng.uniform(-np.pi, np.pi)),
            crossing_s=crossing,
        )
        self.actors: list[Actor] = []
        self.background: list[tuple[float, ...]] = []
        for side in (-1, 1):
            self._fill_kerbside(side)
            self._fill_lanes(side)
            self._fill_sidewalk(side)
            self._fill_houses(side)
        if crossing is not None:
            self._fill_crossing(crossing)

    def describe(self) -> str:
        """A few words for the scene table."""
        words = ['curved street' if self.road.curvature else 'straight street']
        words.append(f'{self.road.lanes} lane{"s" * (self.road.lanes > 1)} each way')
        if self.road.crossing_s is not None:
            words.append('crossing')
        words.append('red light' if self.red_light else f'{self.ego_speed:.1f} m/s')
        return ', '.join(words)

    def _fill_kerbside(self, side: int) -> None:
        """A row of sites along the kerb, each site once before any comes again."""
        sites: list[tuple[Callable[[float, int], None], float]] = [
            (self._road_works, 17.0),
            (self._bus_stop, 15.0),
            (self._loading_zone, 20.0),
            (self._parked_cars, 12.0),
            (self._bike_stand, 8.0),
            (self._delivery, 21.0),
        ]
        bag: list[int] = []
        s = -AHEAD_M - self.rng.uniform(0, 20)
        while s < self.end_s + AHEAD_M:
            bag = bag or self.rng.permutation(len(sites)).tolist()
            site, length = sites[bag.pop()]
            if self._is_free(s, s + length):
                site(s, side)
            else:
                length = 3.0
            s += length + self.rng.uniform(3, 10)

    def _road_works(self, s: float, side: int) -> None:
        rng, kerb = self.rng, self.road.kerb_d
        upstream = s if side < 0 else s + 17
        forward = 1 if side < 0 else -1
        for i in range(5):
            along = upstream + forward * (0.3 + 1.25 * i)
            self._add('traffic_cone', along, side * (kerb + 1.5 - 0.3 * i), rng.uniform(-3, 3))
        for i in range(rng.integers(3, 5)):
            along = upstream + forward * (7.2 + 2.7 * i)
            self._add('barrier', along, side * (kerb + 0.3), np.pi / 2 + rng.normal(0, 0.05))
        along = upstream + forward * rng.uniform(10, 12)
        heading = rng.choice([0, np.pi]) + rng.normal(0, 0.04)
        self._add('construction_vehicle', along, side * (kerb + 2.15), heading, PARKED)
        for i in range(rng.integers(1, 3)):
            along = upstream + forward * (2.5 + 2.2 * i + rng.uniform(0, 1))
            self._add(
                'worker', along, side * (kerb + rng.uniform(2.4, 3.0)), rng.uniform(-3, 3), STANDING
            )

    def _bus_stop(self, s: float, side: int) -> None:
        rng, d = self.rng, self.road.kerb_d + 1.55
        self._add('bus', s + 7.5, side * d, self._kerb_heading(side), STOPPED)
        shelter = self.road.facade_d - 0.8
        self._wall(s + 7.5, side * shelter, 4.0, 0.15, 0, 2.4, 0.2)
        self._wall(s + 7.5, side * (shelter - 0.6), 4.0, 1.4, 2.4, 2.5, 0.3)
        for end in (0.5, 14.5):
            along = s + end + rng.uniform(-1, 1)
            across = self.road.sidewalk_d + rng.uniform(0.4, 2.4)
            self._add('pedestrian', along, side * across, rng.uniform(-3, 3), STANDING)

    def _loading_zone(self, s: float, side: int) -> None:
        heading = self._kerb_heading(side)
        d = side * (self.road.kerb_d + 1.5)
        forward = np.sign(np.cos(heading))
        middle = s + 10
        self._add('truck', middle + forward * 5.6, d, heading, PARKED)
        self._add('trailer', middle - forward * 3.6, d, heading, PARKED)

    def _delivery(self, s: float, side: int) -> None:
        """A machine beside the trailer that brought it."""
        heading = self._kerb_heading(side)
        d, forward = side * (self.road.kerb_d + 1.5), np.sign(np.cos(heading))
        self._add('trailer', s + 10.5 - forward * 5, d, heading, PARKED)
        self._add('construction_vehicle', s + 10.5 + forward * 5, d, heading, PARKED)

    def _parked_cars(self, s: float, side: int) -> None:
        for i in range(2):
            if self.rng.random() < 0.8:
                d = side * (self.road.kerb_d + 1.4 + self.rng.uniform(-0.2, 0.2))
                along = s + 3 + 5.8 * i + self.rng.uniform(-0.3, 0.3)
                self._add('car', along, d, self._kerb_heading(side), PARKED)

    def _bike_stand(self, s: float, side: int) -> None:
        for i, kind in enumerate(self.rng.permutation(['bicycle', 'motorcycle'] * 2)[:3]):
            heading = side * np.pi / 2 * self.rng.choice([-1, 1]) + self.rng.normal(0, 0.15)
            d = side * (self.road.kerb_d + 1.4)
            self._add(str(kind), s + 1 + 1.8 * i, d, heading, RIDERLESS)

    def _fill_lanes(self, side: int) -> None:
        """Traffic of one direction: vehicles of one lane share one speed."""
        rng = self.rng
        heading = 0.0 if side < 0 else np.pi
        for lane in range(self.road.lanes):
            own = side < 0 and lane == 0
            speed = self.ego_speed if own else rng.uniform(3.0, 8.0)
            if self.red_light:
                speed = 0.0
            reach = AHEAD_M + 2 + speed * self.duration_s
            d = side * (lane + 0.5) * LANE_M
            for direction in (-1, 1):
                s = direction * (rng.uniform(9, 16) if own else rng.uniform(1, 8))
                while -reach < s < self.end_s + reach:
                    s = self._add_traffic(s, d, direction, heading, speed)
                    mean_gap = 7 if self.red_light else 17
                    s += direction * rng.uniform(0.5, 1.5) * mean_gap * (1 + 0.4 * self.road.lanes)
        if rng.random() < 0.7 and not self.red_light:
            self._add_cyclists(side, heading)

    def _add_traffic(
        self, s: float, d: float, direction: int, heading: float, speed: float
    ) -> float:
        """Put one vehicle (or truck and trailer) beyond s; returns where it ends."""
        rng = self.rng
        kind = rng.choice(
            ['car', 'truck', 'bus', 'motorcyclist', 'truck+trailer'],
            p=[0.60, 0.07, 0.06, 0.20, 0.07],
        )
        train = kind.split('+')
        if direction * np.cos(heading) > 0:
            train.reverse()
        for vehicle in train:
            attribute = MOVING if speed else STOPPED
            if vehicle == 'motorcyclist':
                attribute = RIDDEN
            actor = self._add(vehicle, s, d + rng.uniform(-0.25, 0.25), heading, attribute, speed)
            actor.s += direction * actor.size[0] / 2
            s += direction * (actor.size[0] + 0.6)
            if self.red_light and self._is_past_stop_line(actor):
                self.actors.pop()
        return s

    def _is_past_stop_line(self, actor: Actor) -> bool:
        """Whether a vehicle stands where it would have driven on before the light turned red."""
        to_go = (self.road.crossing_s - actor.s) * np.cos(actor.heading)
        return to_go < CROSSING_HALF_M + 4 + actor.size[0] / 2

    def _add_cyclists(self, side: int, heading: float) -> None:
        speed = self.rng.uniform(2.5, 5.0)
        s = -AHEAD_M - speed * self.duration_s + self.rng.uniform(0, 25)
        while s < self.end_s + AHEAD_M + speed * self.duration_s:
            d = side * (self.road.kerb_d - CYCLE_LANE_M / 2)
            self._add('cyclist', s, d, heading, RIDDEN, speed)
            s += self.rng.uniform(22, 45)

    def _fill_sidewalk(self, side: int) -> None:
        rng = self.rng
        s = -AHEAD_M + rng.uniform(0, 10)
        while s < self.end_s + AHEAD_M:
            kind = 'child' if rng.random() < 0.15 else 'pedestrian'
            d = side * (self.road.sidewalk_d + rng.uniform(0.8, 2.5))
            if self.red_light and abs(s - self.road.crossing_s) < 14:
                s += 5  # clear of the crossing traffic
                continue
            if rng.random() < 0.75:
                heading = rng.choice([0, np.pi]) + rng.normal(0, 0.05)
                self._add(kind, s, d, heading, WALKING, rng.uniform(0.8, 1.7))
            else:
                self._add(kind, s, d, rng.uniform(-np.pi, np.pi), STANDING)
            s += rng.uniform(15, 32)

    def _fill_houses(self, side: int) -> None:
        """House fronts, garden walls, lamp posts and trees."""
        rng, facade = self.rng, self.road.facade_d
        s = -AHEAD_M - rng.uniform(5, 15)
        while s < self.end_s + AHEAD_M + 10:
            length = rng.uniform(7, 16)
            if not self._is_free(s - 2, s + length + 2):
                s += 2
                continue
            if rng.random() < 0.75:
                depth, front = rng.uniform(8, 12), facade + rng.uniform(0, 2.0)
                height = rng.uniform(5, 14)
                self._wall(s + length / 2, side * (front + depth / 2), length, depth, 0, height)
            else:
                self._wall(
                    s + length / 2, side * (facade + 0.3), length, 0.3, 0, rng.uniform(0.8, 2)
                )
                self._tree(s + length / 2, side * (facade + rng.uniform(2.5, 5)))
            s += length + rng.choice([0.0, rng.uniform(1, 4)])
        s = -AHEAD_M + rng.uniform(0, 10)
        while s < self.end_s + AHEAD_M:
            d = side * (self.road.sidewalk_d + 0.45)
            if self._is_free(s, s):
                if rng.random() < 0.5:
                    self._tree(s, d)
                else:
                    self._wall(s, d, 0.18, 0.18, 0, 7)
            s += rng.uniform(12, 22)

    def _fill_crossing(self, crossing: float) -> None:
        """Side street: at red light others cross, otherwise they wait on the side street."""
        rng = self.rng
        far = self.road.facade_d + 3
        for lane, heading in ((-LANE_M / 2, -np.pi / 2), (LANE_M / 2, np.pi / 2)):
            speed = rng.uniform(3, 6) if self.red_light else 0.0
            start = -np.sign(heading) * (0 if self.red_light else far + rng.uniform(0, 2))
            for i in range(-2, 3) if self.red_light else range(2):
                kind = str(rng.choice(['car', 'motorcyclist', 'truck'], p=[0.7, 0.2, 0.1]))
                attribute = RIDDEN if kind == 'motorcyclist' else (MOVING if speed else STOPPED)
                back = -np.sign(heading) * 12 * i + rng.uniform(-2, 2) * bool(speed)
                self._add(kind, crossing + lane, start + back, heading, attribute, speed)
        if self.red_light:
            for zebra in (crossing - 8, crossing + 8):
                for _ in range(rng.integers(1, 4)):
                    heading = rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.05)
                    s, d = zebra + rng.uniform(-1.2, 1.2), rng.uniform(-1, 1) * self.road.kerb_d
                    self._add('pedestrian', s, d, heading, WALKING, rng.uniform(0.9, 1.6))

    def _is_free(self, start: float, end: float) -> bool:
        """Whether a stretch of kerb or house front keeps clear of the side street."""
        crossing = self.road.crossing_s
        if crossing is None:
            return True
        return end < crossing - CROSSING_HALF_M - 4 or start > crossing + CROSSING_HALF_M + 4

    def _kerb_heading(self, side: int) -> float:
        """Heading of what is parked; a few stand the wrong way round."""
        against = self.rng.random() < 0.12
        return (np.pi if (side > 0) != against else 0.0) + self.rng.normal(0, 0.02)

    def _add(
        self,
        kind: str,
        s: float,
        d: float,
        heading: float,
        attribute: str = '',
        speed: float = 0.0,
    ) -> Actor:
        """Place an actor that moves along its heading."""
        size, parts = KINDS[kind].sample(self.rng)
        actor = Actor(
            kind,
            s,
            d,
            heading,
            attribute,
            speed * np.cos(heading),
            speed * np.sin(heading),
            size,
            parts,
        )
        self.actors.append(actor)
        return actor

    def _wall(self, s, d, length, depth, low, high, reflectivity: float | None = None) -> None:
        """A background box."""
        if reflectivity is None:
            reflectivity = self.rng.uniform(0.15, 0.5)
        x, y, yaw = self.road.to_world(s, d, 0.0)
        self.background.append((x, y, yaw, length / 2, depth / 2, low, high, reflectivity))

    def _tree(self, s: float, d: float) -> None:
        rng = self.rng
        self._wall(s, d, 0.3, 0.3, 0, 2.6, 0.2)
        for _ in range(4):
            radius = rng.uniform(1.0, 2.0)
            low = rng.uniform(2.3, 3.6)
            ds, dd = rng.uniform(-0.9, 0.9, 2)
            self._wall(s + ds, d + dd, radius, radius, low, low + radius, 0.45)

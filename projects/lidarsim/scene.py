"""The street at one moment: where everything is, and the boxes that the sensor sees."""

import numpy as np

from lidarsim.pose import to_local, to_parent
from lidarsim.sensor import Boxes
from lidarsim.street import Street

GROUND_CLEARANCE_M = 0.03
"""Objects stand this far above the ground, so that no ground return falls into their boxes."""


class Scene:
    """A street in motion, seen from the ego vehicle that drives through it.

    Args:
        street: What there is, and how it moves.
    """

    def __init__(self, street: Street) -> None:
        self.street = street
        self.actors = street.actors
        self._motion = np.array(
            [(a.s, a.d, a.heading, a.speed_s, a.speed_d) for a in self.actors]
        ).T
        self._parts = np.concatenate([actor.parts for actor in self.actors])
        self._owner = np.repeat(
            np.arange(len(self.actors)), [len(actor.parts) for actor in self.actors]
        )
        self._background = np.array(street.background)

    def ego_pose(self, time_s: float) -> np.ndarray:
        """Global pose (3,) x, y, yaw of the ego vehicle."""
        street = self.street
        return np.array(street.road.to_world(street.ego_speed * time_s, street.ego_d, 0.0))

    def actor_poses(self, time_s: float) -> np.ndarray:
        """Global poses (N, 3) x, y, yaw of all actors."""
        s, d, heading, speed_s, speed_d = self._motion
        world = self.street.road.to_world(s + speed_s * time_s, d + speed_d * time_s, heading)
        return np.stack(world, axis=1)

    def boxes(self, time_s: float, sensor_pose: np.ndarray, height_m: float) -> Boxes:
        """All boxes in the sensor frame; the owner of the background is `len(actors)`.

        Args:
            time_s: Time since the first keyframe.
            sensor_pose: Global pose (3,) of the sensor.
            height_m: Height of the sensor above the ground.
        """
        rows = np.concatenate([self._actor_boxes(time_s), self._background])
        background = np.full(len(self._background), len(self.actors))
        return Boxes(
            centre_xy=to_local(sensor_pose, rows[:, :2]),
            yaw=rows[:, 2] - sensor_pose[2],
            half_size=rows[:, 3:5],
            z_range=rows[:, 5:7] - height_m,
            reflectivity=rows[:, 7],
            owner=np.concatenate([self._owner, background]),
        )

    def _actor_boxes(self, time_s: float) -> np.ndarray:
        """Parts of all actors, in the form of `Street.background`."""
        poses = self.actor_poses(time_s)[self._owner]
        x0, x1, y0, y1, z0, z1, reflectivity = self._parts.T
        centre = to_parent(poses, np.stack([x0 + x1, y0 + y1], axis=1) / 2)
        shape = [(x1 - x0) / 2, (y1 - y0) / 2, z0 + GROUND_CLEARANCE_M, z1 + GROUND_CLEARANCE_M]
        return np.column_stack([centre, poses[:, 2], *shape, reflectivity])

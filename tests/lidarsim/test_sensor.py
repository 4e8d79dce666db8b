"""The simulated LiDAR measures what is there."""

import numpy as np
import pytest

from lidarsim.road import Road
from lidarsim.sensor import ELEVATIONS_RAD, Boxes, Lidar
from lidarsim.shapes import KINDS

HEIGHT = 1.84


def make_boxes(*rows):
    """Boxes of (x, y, yaw, length, width, z0, z1), heights above the ground."""
    rows = np.array(rows, float).reshape(-1, 7)
    return Boxes(
        centre_xy=rows[:, :2],
        yaw=rows[:, 2],
        half_size=rows[:, 3:5] / 2,
        z_range=rows[:, 5:] - HEIGHT,
        reflectivity=np.full(len(rows), 0.5),
        owner=np.arange(len(rows)),
    )


def scan(boxes, noise_m=0.0, azimuths=540):
    lidar = Lidar(azimuths, height_m=HEIGHT, noise_m=noise_m)
    return lidar.scan(
        boxes, len(boxes.yaw), lambda xy: np.full(len(xy), 0.1), np.random.default_rng(0)
    )


def naive_distance(boxes, azimuth, elevation, max_range=55.0):
    """Range along one ray by the slab method in three dimensions, box by box."""
    direction = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    best = -HEIGHT / direction[2] if direction[2] < 0 else np.inf
    for i in range(len(boxes.yaw)):
        cos, sin = np.cos(boxes.yaw[i]), np.sin(boxes.yaw[i])
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        centre = np.array([*boxes.centre_xy[i], boxes.z_range[i].mean()])
        half = np.array([*boxes.half_size[i], np.ptp(boxes.z_range[i]) / 2])
        origin, ray = turn @ -centre, turn @ direction
        near, far = np.sort([(-half - origin) / ray, (half - origin) / ray], axis=0)
        if 0 < near.max() <= far.min():
            best = min(best, near.max())
    return best if best < max_range else np.inf


def test_ranges_equal_those_of_a_ray_by_ray_reference():
    rng = np.random.default_rng(1)
    rows = [
        (*rng.uniform(3, 20, 2) * rng.choice([-1, 1], 2), rng.uniform(-3, 3), 4, 2, low, low + 1.5)
        for low in rng.uniform(0, 3, 25)
    ]
    boxes = make_boxes(*rows)
    points = scan(boxes, azimuths=180).points.astype(float)
    measured = np.linalg.norm(points[:, :3], axis=1)
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    step = 2 * np.pi / 180
    offset = np.median(azimuth % step)
    azimuth = np.round((azimuth - offset) / step) * step + offset
    for i in range(0, len(points), 3):
        expected = naive_distance(boxes, azimuth[i], ELEVATIONS_RAD[int(points[i, 4])])
        assert measured[i] == pytest.approx(expected, abs=0.03)


def test_ground_is_flat_at_the_sensor_height():
    points = scan(make_boxes()).points
    assert len(points) > 5000
    np.testing.assert_allclose(points[:, 2], -HEIGHT, atol=2e-3)


def test_box_across_the_azimuth_seam_is_seen():
    points = scan(make_boxes((-10, 0, 0, 1, 4, 0, 3))).points
    front = np.abs(points[:, 0] + 9.5) < 0.01
    assert points[front, 1].min() < -1.8
    assert points[front, 1].max() > 1.8


def test_near_box_hides_the_far_one():
    near, far = (0, 5, 0, 6, 1, 0, 4), (0, 12, 0, 2, 1, 0, 1)
    assert scan(make_boxes(far)).visible[0] == 1
    both = scan(make_boxes(near, far))
    assert both.visible.tolist() == [1, 0]
    assert (both.points[:, 1] < 11.5)[np.abs(both.points[:, 0]) < 1].all()


def test_sensor_sees_over_a_low_box():
    low, high = (0, 6, 0, 4, 1, 0, 1), (0, 12, 0, 4, 1, 0, 4)
    visible = scan(make_boxes(low, high)).visible
    assert visible[0] == 1
    assert 0.3 < visible[1] < 1


def test_range_noise_has_the_given_spread():
    boxes = make_boxes((0, 10.5, 0, 40, 1, 0, 12))
    points = scan(boxes, noise_m=0.05).points.astype(float)
    wall = (points[:, 2] > -1) & (np.abs(points[:, 0]) < 1) & (points[:, 1] > 0)
    assert points[wall, 1].std() == pytest.approx(0.05, rel=0.2)


def test_brighter_surfaces_return_more():
    boxes = make_boxes((0, 10, 0, 4, 1, 0, 3), (0, -10, 0, 4, 1, 0, 3))
    boxes.reflectivity[:] = [0.9, 0.1]
    points = scan(boxes).points
    wall = (points[:, 2] > -1) & (np.abs(points[:, 0]) < 1.5)
    bright = points[wall & (points[:, 1] > 0), 3].mean()
    dark = points[wall & (points[:, 1] < 0), 3].mean()
    assert bright > 5 * dark


@pytest.mark.parametrize('kind', sorted(KINDS))
def test_shapes_stay_inside_their_box(kind):
    rng = np.random.default_rng(0)
    for _ in range(20):
        size, parts = KINDS[kind].sample(rng)
        assert (size > 0).all()
        assert (parts[:, [1, 3, 5]] > parts[:, [0, 2, 4]]).all()
        assert (np.abs(parts[:, :4]) < np.repeat(size[:2], 2) / 2).all()
        assert (parts[:, 4] >= 0).all()
        assert (parts[:, 5] < size[2]).all()


@pytest.mark.parametrize('kind', sorted(set(KINDS) - {'traffic_cone', 'barrier'}))
def test_shapes_differ_front_to_back(kind):
    """The side view, mirrored, must not fit: a detector has to learn the heading from it."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        size, parts = KINDS[kind].sample(rng)
        x = np.linspace(-0.49, 0.49, 60)[:, None, None] * size[0]
        z = np.linspace(0.02, 0.98, 40)[None, :, None] * size[2]
        solid = (parts[:, 0] < x) & (x < parts[:, 1]) & (parts[:, 4] < z) & (z < parts[:, 5])
        side = solid.any(axis=2)
        assert (side != side[::-1]).mean() > 0.04


@pytest.mark.parametrize('curvature', [0.0, 1 / 65, -1 / 90])
def test_road_coordinates_and_world_are_inverse(curvature):
    rng = np.random.default_rng(0)
    road = Road(curvature, lanes=2, origin=(500.0, 800.0, 2.5))
    s, d = rng.uniform(-60, 60, 100), rng.uniform(-30, 30, 100)
    x, y, _ = road.to_world(s, d, 0.0)
    back_s, back_d = road.from_world(np.stack([x, y], axis=1))
    np.testing.assert_allclose(back_s, s, atol=1e-6)
    np.testing.assert_allclose(back_d, d, atol=1e-6)


@pytest.mark.parametrize('curvature', [0.0, 1 / 65, -1 / 90])
def test_heading_zero_follows_the_road(curvature):
    road = Road(curvature, lanes=1, origin=(500.0, 800.0, 2.5))
    x, y, yaw = road.to_world(np.array([10.0, 10.001]), np.array([3.0, 3.0]), 0.0)
    assert np.arctan2(np.diff(y), np.diff(x))[0] == pytest.approx(
        np.arctan2(np.sin(yaw[0]), np.cos(yaw[0])), abs=1e-4
    )

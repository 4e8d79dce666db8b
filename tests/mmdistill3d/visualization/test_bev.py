"""Boxes are drawn where they are."""

import numpy as np
from matplotlib import image

from mmdistill3d.visualization import COLOURS, Boxes, Frame, draw_bev
from tests.mmdistill3d.visualization.pixels import pixels_of

CLASSES = tuple(COLOURS)


def test_boxes_are_drawn_where_they_are(tmp_path):
    points = np.random.default_rng(0).uniform(-20, 20, (500, 3))
    truth = Boxes(np.array([[-20.0, 20, 0, 6, 3, 2, 0]]), np.array([CLASSES.index('trailer')]))
    found = Boxes(
        np.array([[20.0, -20, 0, 6, 3, 2, 0]]),
        np.array([CLASSES.index('pedestrian')]),
        np.array([0.7]),
    )
    draw_bev(Frame('frame', points, truth, found), CLASSES, tmp_path / 'frame.png')
    picture = image.imread(tmp_path / 'frame.png')
    row, column = pixels_of(picture, 'trailer').mean(axis=0) / picture.shape[:2]
    assert row < 0.35
    assert column < 0.35
    row, column = pixels_of(picture, 'pedestrian').mean(axis=0) / picture.shape[:2]
    assert row > 0.65
    assert column > 0.5
    assert not len(pixels_of(picture, 'truck'))


def test_frame_without_boxes_or_points_is_drawn(tmp_path):
    empty = Boxes(np.zeros((0, 7)), np.zeros(0, int))
    draw_bev(Frame('empty', np.zeros((0, 3)), empty), CLASSES, tmp_path / 'empty.png')
    assert (tmp_path / 'empty.png').stat().st_size > 5000


def test_a_box_lies_along_its_heading_and_the_tick_leaves_through_its_front(tmp_path):
    """Yaw counts from x towards y: 90 degrees look upwards in the picture, 180 to the left."""
    for yaw, rows_up, columns_right in ((90, 1, 0), (180, 0, -1), (0, 0, 1), (-90, -1, 0)):
        box = np.array([[0.0, 0, 0, 10, 2, 2, np.deg2rad(yaw)]])
        car = Boxes(box, np.array([CLASSES.index('trailer')]))
        file = tmp_path / f'{yaw}.png'
        draw_bev(Frame('', np.zeros((0, 3)), car), CLASSES, file)
        pixels = pixels_of(image.imread(file), 'trailer')
        height, width = np.ptp(pixels, axis=0)
        assert (height > 3 * width) == bool(rows_up)
        # In front of the box there is nothing but the tick, one line wide; behind it nothing.
        along = -pixels[:, 0] if rows_up else pixels[:, 1]
        across = pixels[:, 1] if rows_up else pixels[:, 0]
        ends = [np.ptp(across[along == end]) for end in (along.max(), along.min())]
        front, back = ends if rows_up + columns_right > 0 else ends[::-1]
        assert front < back

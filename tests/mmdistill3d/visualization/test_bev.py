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

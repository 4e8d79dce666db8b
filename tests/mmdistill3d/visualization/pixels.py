"""Where a class's colour is in a picture."""

import numpy as np
from matplotlib import colors

from mmdistill3d.visualization import COLOURS


def pixels_of(picture, name):
    """Pixels (row, column) in the colour of a class, in the left part: without the legend."""
    colour = np.array(colors.to_rgb(COLOURS[name]))
    left = picture[:, : int(picture.shape[1] * 0.78), :3]
    return np.argwhere(np.abs(left - colour).max(axis=2) < 0.03)

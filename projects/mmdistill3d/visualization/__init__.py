"""Pictures of single frames."""

from mmdistill3d.visualization.bev import (
    COLOURS,
    Boxes,
    Frame,
    draw_bev,
    draw_boxes,
    draw_points,
)
from mmdistill3d.visualization.frames import frames_of_config, frames_of_infos

__all__ = [
    'COLOURS',
    'Boxes',
    'Frame',
    'draw_bev',
    'draw_boxes',
    'draw_points',
    'frames_of_config',
    'frames_of_infos',
]

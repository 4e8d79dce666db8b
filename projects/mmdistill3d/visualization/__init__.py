"""Pictures of single frames."""

from mmdistill3d.visualization.bev import COLOURS, Boxes, Frame, draw_bev
from mmdistill3d.visualization.frames import frames_of_config, frames_of_infos

__all__ = ['COLOURS', 'Boxes', 'Frame', 'draw_bev', 'frames_of_config', 'frames_of_infos']

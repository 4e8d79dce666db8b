"""Seeded clips of stick figures that act, as real video files in the layouts of real data sets."""

from videosim.actions import ACTIONS, ORDERED_PAIR
from videosim.clip import Clip, render_clip
from videosim.generate import generate_dataset
from videosim.layouts import Parameters
from videosim.manifest import verify_dataset

__all__ = [
    'ACTIONS',
    'ORDERED_PAIR',
    'Clip',
    'Parameters',
    'generate_dataset',
    'render_clip',
    'verify_dataset',
]

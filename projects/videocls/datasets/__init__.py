"""Data sets of video clips, in the layouts of UCF101, Kinetics and plain lists."""

from videocls.datasets.kinetics import KineticsDataset
from videocls.datasets.ucf101 import UCF101Dataset
from videocls.datasets.video_list import VideoListDataset

__all__ = ['KineticsDataset', 'UCF101Dataset', 'VideoListDataset']

"""Procedural driving scenes and a simulated LiDAR, written as nuScenes or as KITTI."""

from lidarsim.generate import generate_dataset
from lidarsim.manifest import LAYOUTS, SIZES, Parameters, verify_dataset

__all__ = ['LAYOUTS', 'SIZES', 'Parameters', 'generate_dataset', 'verify_dataset']

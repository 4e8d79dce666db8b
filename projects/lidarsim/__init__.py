"""Procedural driving scenes and a simulated LiDAR, written as a nuScenes v1.0 database."""

from lidarsim.generate import generate_dataset
from lidarsim.manifest import SIZES, Parameters, verify_dataset

__all__ = ['SIZES', 'Parameters', 'generate_dataset', 'verify_dataset']

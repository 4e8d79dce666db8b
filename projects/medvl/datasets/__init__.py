"""Data sets of images with text, whose files are checked line by line."""

from medvl.datasets.image_text import ImageTextDataset
from medvl.datasets.medpix import MedPixDataset
from medvl.datasets.wound import WoundDataset

__all__ = ['ImageTextDataset', 'MedPixDataset', 'WoundDataset']

"""Steps of the pipelines of images with text."""

from medvl.transforms.load import LoadImage
from medvl.transforms.pack import PackImageText
from medvl.transforms.resize import Resize
from medvl.transforms.shift import RandomShift

__all__ = ['LoadImage', 'PackImageText', 'RandomShift', 'Resize']

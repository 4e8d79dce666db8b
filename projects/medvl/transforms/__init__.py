"""Steps of the pipelines of images with text."""

from medvl.transforms.fit import FitSquare
from medvl.transforms.load import LoadImage
from medvl.transforms.pack import PackImageText
from medvl.transforms.shift import RandomShift

__all__ = ['FitSquare', 'LoadImage', 'PackImageText', 'RandomShift']

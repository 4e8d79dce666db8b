"""Classifiers of medical images with text, their data sets and fusions, for MMEngine."""

from medvl.classifier import ImageTextClassifier
from medvl.datasets import ImageTextDataset, MedPixDataset, WoundDataset
from medvl.fusions import (
    ConcatFusion,
    CrossAttentionFusion,
    FiLMFusion,
    Fusion,
    GatedFusion,
    SumFusion,
)
from medvl.preprocessor import ImageTextPreprocessor
from medvl.transforms import FitSquare, LoadImage, PackImageText, RandomShift

__all__ = [
    'ConcatFusion',
    'CrossAttentionFusion',
    'FiLMFusion',
    'FitSquare',
    'Fusion',
    'GatedFusion',
    'ImageTextClassifier',
    'ImageTextDataset',
    'ImageTextPreprocessor',
    'LoadImage',
    'MedPixDataset',
    'PackImageText',
    'RandomShift',
    'SumFusion',
    'WoundDataset',
]

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
from medvl.transforms import LoadImage, PackImageText, RandomShift, Resize

__all__ = [
    'ConcatFusion',
    'CrossAttentionFusion',
    'FiLMFusion',
    'Fusion',
    'GatedFusion',
    'ImageTextClassifier',
    'ImageTextDataset',
    'ImageTextPreprocessor',
    'LoadImage',
    'MedPixDataset',
    'PackImageText',
    'RandomShift',
    'Resize',
    'SumFusion',
    'WoundDataset',
]

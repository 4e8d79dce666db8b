"""Fusions: one vector of an image and a text."""

from medvl.fusions.base import Fusion, Seen
from medvl.fusions.concat import ConcatFusion
from medvl.fusions.cross_attention import CrossAttentionFusion
from medvl.fusions.film import FiLMFusion
from medvl.fusions.gated import GatedFusion
from medvl.fusions.simple import SumFusion

__all__ = [
    'ConcatFusion',
    'CrossAttentionFusion',
    'FiLMFusion',
    'Fusion',
    'GatedFusion',
    'Seen',
    'SumFusion',
]

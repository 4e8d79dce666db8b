"""Encoders of the transformers library as MMEngine modules; the only package that imports it."""

from mmdistill_hf.stem import ConvStem
from mmdistill_hf.text import HFTextEncoder
from mmdistill_hf.tokenizer import HFTokenizer, train_wordpiece
from mmdistill_hf.vision import HFVisionEncoder

__all__ = ['ConvStem', 'HFTextEncoder', 'HFTokenizer', 'HFVisionEncoder', 'train_wordpiece']

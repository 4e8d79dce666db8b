"""Video classifiers: data sets, clip transforms and models; nothing of distillation."""

from videocls import datasets, models, transforms
from videocls.video import VideoError, VideoReader

__all__ = ['VideoError', 'VideoReader', 'datasets', 'models', 'transforms']

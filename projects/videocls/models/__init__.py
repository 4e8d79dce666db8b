"""Models of clips: frames by a backbone, time by a neck, classes by a head."""

from videocls.models.data_preprocessor import ClipPreprocessor
from videocls.models.frame_cnn import FrameCNN
from videocls.models.head import ClassificationHead
from videocls.models.temporal_pool import FrameAttention, TemporalPool
from videocls.models.video_classifier import VideoClassifier

__all__ = [
    'ClassificationHead',
    'ClipPreprocessor',
    'FrameAttention',
    'FrameCNN',
    'TemporalPool',
    'VideoClassifier',
]

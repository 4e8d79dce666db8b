"""From a video file to a clip: which frames, decoded, changed all alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement

from videocls.video import VideoReader

Results = dict[str, Any]


class FramesInMemory:
    """Decoded frames in place of a file; it reads as :class:`~videocls.VideoReader` does."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames, self.num_frames = frames, len(frames)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return frames ``(T, H, W, 3)``."""
        return self.frames[indices]


@TRANSFORMS.register_module()
class OpenVideo:
    """Opens ``results['path']`` as ``results['video']`` and tells ``results['num_frames']``.

    Config lines::

        dict(type='OpenVideo')
        dict(type='OpenVideo', cache=True, short_side=64)    # some thousand small clips

    Args:
        cache: Keep every video's decoded frames in memory; with workers, in each worker's.
        short_side: Of frames that are kept, in pixels; ``None`` keeps them as they are.

    Raises:
        VideoError: The video is missing, damaged or empty.
    """

    def __init__(self, cache: bool = False, short_side: int | None = None) -> None:
        self.cache, self.short_side = cache, short_side
        self._kept: dict[str, FramesInMemory] = {}

    def __call__(self, results: Results) -> Results:
        path = results['path']
        video = self._kept.get(path) or VideoReader(path)
        if self.cache and path not in self._kept:
            frames = video.read(np.arange(video.num_frames))
            if self.short_side is not None:
                frames = resize(frames, short_side(frames, self.short_side))
            video = self._kept[path] = FramesInMemory(frames)
        results.update(video=video, num_frames=video.num_frames)
        return results


@TRANSFORMS.register_module()
class SampleFrames:
    """Chooses frames by segments: the video is cut into equal parts, with one frame of each.

    A video with fewer frames than parts gives some of them twice.

    Source: Wang et al., "Temporal Segment Networks", ECCV 2016.

    Config lines::

        dict(type='SampleFrames', num_frames=8, random=True)     # in testing random=False

    Args:
        num_frames: Parts, and so frames of the clip.
        random: A random frame of each part, else its middle one.
    """

    def __init__(self, num_frames: int, random: bool = False) -> None:
        if num_frames < 1:
            raise ValueError(f'num_frames is 1 or more, not {num_frames}')
        self.num_frames, self.random = num_frames, random

    def __call__(self, results: Results) -> Results:
        part = results['num_frames'] / self.num_frames
        place = np.random.uniform(size=self.num_frames) if self.random else 0.5
        indices = ((np.arange(self.num_frames) + place) * part).astype(int)
        results['frame_indices'] = np.minimum(indices, results['num_frames'] - 1)
        return results


@TRANSFORMS.register_module()
class DecodeVideo:
    """Reads ``results['frames']``, ``(T, H, W, 3)`` of uint8, blue first."""

    def __call__(self, results: Results) -> Results:
        results['frames'] = results['video'].read(results['frame_indices'])
        return results


@TRANSFORMS.register_module()
class ResizeClip:
    """Scales all frames so that the shorter side has ``short_side`` pixels."""

    def __init__(self, short_side: int) -> None:
        self.short_side = short_side

    def __call__(self, results: Results) -> Results:
        frames = results['frames']
        results['frames'] = resize(frames, short_side(frames, self.short_side))
        return results


@TRANSFORMS.register_module()
class CenterCropClip:
    """Cuts the middle square of ``size`` pixels out of all frames."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, results: Results) -> Results:
        height, width = results['frames'].shape[1:3]
        if min(height, width) < self.size:
            raise ValueError(
                f'frames of {height} x {width} pixels have no square of {self.size}: resize first'
            )
        y, x = (height - self.size) // 2, (width - self.size) // 2
        results['frames'] = results['frames'][:, y : y + self.size, x : x + self.size]
        return results


@TRANSFORMS.register_module()
class RandomResizedCropClip:
    """Cuts one random rectangle out of all frames and scales it to a square.

    Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.

    Args:
        size: Side of the square in pixels.
        area: Smallest and largest share of the frame's area.
        ratio: Smallest and largest width / height.
    """

    def __init__(
        self,
        size: int,
        area: tuple[float, float] = (0.5, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size, self.area, self.ratio = size, area, ratio

    def __call__(self, results: Results) -> Results:
        frames = results['frames']
        height, width = frames.shape[1:3]
        share = np.random.uniform(*self.area) * height * width
        ratio = np.exp(np.random.uniform(*np.log(self.ratio)))
        w = min(width, max(1, round(np.sqrt(share * ratio))))
        h = min(height, max(1, round(np.sqrt(share / ratio))))
        y, x = np.random.randint(height - h + 1), np.random.randint(width - w + 1)
        results['frames'] = resize(frames[:, y : y + h, x : x + w], (self.size, self.size))
        return results


@TRANSFORMS.register_module()
class FlipClip:
    """Mirrors all frames, with a probability."""

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def __call__(self, results: Results) -> Results:
        if np.random.uniform() < self.prob:
            results['frames'] = results['frames'][:, :, ::-1]
        return results


@TRANSFORMS.register_module()
class ColorJitterClip:
    """Changes brightness, contrast and the three channels' strength, of all frames alike.

    Args:
        brightness: Largest change, as a share of white.
        contrast: Largest change of the factor 1.
        color: The same for each channel.
    """

    def __init__(self, brightness: float = 0.1, contrast: float = 0.2, color: float = 0.1) -> None:
        self.brightness, self.contrast, self.color = brightness, contrast, color

    def __call__(self, results: Results) -> Results:
        factor = 1 + np.random.uniform(-self.contrast, self.contrast)
        factors = factor * (1 + np.random.uniform(-self.color, self.color, 3))
        shift = 255 * np.random.uniform(-self.brightness, self.brightness)
        # One value of a channel always becomes the same: look it up.
        table = np.clip(np.arange(256)[:, None] * factors + shift, 0, 255).astype(np.uint8)
        frames = results['frames']
        results['frames'] = np.stack([table[frames[..., c], c] for c in range(3)], axis=-1)
        return results


@TRANSFORMS.register_module()
class PackClip:
    """Packs a clip for a :class:`~videocls.models.VideoClassifier`.

    Returns ``inputs``, ``(T, 3, H, W)`` of uint8, blue first, and ``data_samples`` with ``label``,
    ``sample_idx`` (the sample's index in the data set) and ``path``.
    """

    KEYS = ('label', 'sample_idx', 'path', 'frame_indices')

    def __call__(self, results: Results) -> dict[str, Any]:
        frames = np.ascontiguousarray(results['frames'].transpose(0, 3, 1, 2))
        meta = {key: results[key] for key in self.KEYS if key in results}
        return dict(inputs=torch.from_numpy(frames), data_samples=BaseDataElement(metainfo=meta))


def short_side(frames: np.ndarray, length: int) -> tuple[int, int]:
    """Width and height of frames whose shorter side is scaled to a length."""
    height, width = frames.shape[1:3]
    scale = length / min(height, width)
    return max(length, round(width * scale)), max(length, round(height * scale))


def resize(frames: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Scale frames ``(T, H, W, 3)`` to (width, height)."""
    if frames.shape[2:0:-1] == tuple(size):
        return frames
    method = cv2.INTER_AREA if size[0] < frames.shape[2] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, tuple(size), interpolation=method) for frame in frames])

"""Reading frames out of video files, by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


class VideoError(OSError):
    """A video file cannot be read; the message names it."""


class VideoReader:
    """Frames of a video file.

    Example::

        reader = VideoReader('v_Archery_g01_c01.avi')
        frames = reader.read([0, 10, 20])          # (3, H, W, 3), blue first

    Args:
        path: Of an mp4, avi or whatever OpenCV's FFmpeg reads.

    Attributes:
        num_frames: As many as the file's header says.

    Raises:
        VideoError: The file is missing, empty or not a video.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        capture = self._open()
        self.num_frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        if self.num_frames < 1:
            raise VideoError(f'the video {self.path} has no frames')

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return frames ``(T, H, W, 3)`` of uint8, blue first, in the order asked for.

        Frames are decoded one after the other up to the last one asked for: jumps are inexact in
        many codecs.

        Args:
            indices: From 0; a frame may come more than once.

        Raises:
            VideoError: The file ends before the last frame asked for.
            IndexError: There are not that many frames.
        """
        wanted = np.asarray(indices, dtype=int)
        if wanted.size == 0 or wanted.min() < 0 or wanted.max() >= self.num_frames:
            raise IndexError(
                f'{self.path} has frames 0 to {self.num_frames - 1}, asked for {wanted.tolist()}'
            )
        capture, found = self._open(), {}
        needed = set(wanted.tolist())
        for index in range(wanted.max() + 1):
            is_there = capture.grab()
            if is_there and index in needed:
                is_there, found[index] = capture.retrieve()
            if not is_there:
                capture.release()
                raise VideoError(
                    f'the video {self.path} ends behind {index} frames, its header says '
                    f'{self.num_frames}: it is cut short or damaged'
                )
        capture.release()
        return np.stack([found[index] for index in wanted.tolist()])

    def _open(self) -> cv2.VideoCapture:
        if not Path(self.path).is_file():
            raise VideoError(f'no video at {self.path}')
        # One thread: clips are short, and loaders bring processes of their own.
        capture = cv2.VideoCapture(self.path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not capture.isOpened():
            size = Path(self.path).stat().st_size
            raise VideoError(
                f'the video {self.path} ({size} bytes) cannot be opened: it is cut short, damaged '
                'or no video'
            )
        return capture


def check_video(path: str | Path) -> None:
    """Read a video's last frame, and so all of it.

    Raises:
        VideoError: It is missing, empty, no video or cut short.
    """
    reader = VideoReader(path)
    reader.read([reader.num_frames - 1])

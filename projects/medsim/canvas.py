"""A grey or coloured picture, painted in the coordinates of the thing that is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_SHIFT = 5  # fractional bits of OpenCV's coordinates


class Canvas:
    """A square picture with a frame of reference, within which it is painted.

    Args:
        size: Height and width in pixels.
        background: Tone (grey) or tones (RGB) of everything at first, 0 to 1.
    """

    def __init__(self, size: int, background: float | Sequence[float]) -> None:
        shape = (size, size) if np.isscalar(background) else (size, size, 3)
        self.pixels = np.empty(shape, np.float32)
        self.pixels[:] = background
        self._center, self._axes, self._angle = np.array([size / 2] * 2), (size / 2,) * 2, 0.0

    def frame(
        self, center: Sequence[float], half_width: float, half_height: float, angle: float
    ) -> Canvas:
        """Return the same picture in coordinates of a turned box, in which it is (-1, 1) wide.

        Args:
            center: x, y of the box, from 0 to 1 over the picture.
            half_width: Half its width, relative to the picture's.
            half_height: Half its height, relative to the picture's.
            angle: Degrees, clockwise.
        """
        inner = object.__new__(Canvas)
        size = len(self.pixels)
        inner.pixels = self.pixels
        inner._center = np.asarray(center) * size
        inner._axes, inner._angle = (half_width * size, half_height * size), angle
        return inner

    def ellipse(
        self,
        center: Sequence[float],
        half_width: float,
        half_height: float,
        tone: float | Sequence[float],
        angle: float = 0.0,
        thickness: float | None = None,
    ) -> None:
        """Paint an ellipse, in the frame's coordinates; ``thickness`` makes it a ring."""
        turn = np.deg2rad(self._angle)
        right = np.array([np.cos(turn), np.sin(turn)]) * self._axes[0]
        down = np.array([-np.sin(turn), np.cos(turn)]) * self._axes[1]
        place = self._center + center[0] * right + center[1] * down
        axes = (half_width * self._axes[0], half_height * self._axes[1])
        line = -1 if thickness is None else max(1, round(thickness * self._axes[0]))
        color = (float(tone),) if np.isscalar(tone) else tuple(float(value) for value in tone)
        cv2.ellipse(
            self.pixels,
            _fixed(place),
            _fixed(axes),
            self._angle + angle,
            0,
            360,
            color,
            line,
            cv2.LINE_AA,
            _SHIFT,
        )


def _fixed(values: Sequence[float]) -> tuple[int, int]:
    return tuple(round(float(value) * 2**_SHIFT) for value in values)

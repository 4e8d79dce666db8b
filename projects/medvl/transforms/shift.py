"""Small random changes of how a patient lies and how a scanner is set."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomShift:
    """Shift, scale and turn ``image`` a little, and change its brightness; for training.

    Images are not mirrored: left and right mean something in a body.

    Config lines::

        dict(type='RandomShift', shift=0.06, scale=0.1, angle=8.0, brightness=0.15)

    Args:
        shift: Up to this part of the image's sides.
        scale: By a factor of ``1 - scale`` to ``1 + scale``.
        angle: Up to so many degrees either way.
        brightness: By a factor of ``1 - brightness`` to ``1 + brightness``.
    """

    def __init__(
        self,
        shift: float = 0.06,
        scale: float = 0.1,
        angle: float = 8.0,
        brightness: float = 0.15,
    ) -> None:
        if not (0 <= scale < 1 and 0 <= brightness < 1):
            raise ValueError(f'scale and brightness are from 0 to 1, got {scale}, {brightness}')
        self.shift, self.scale, self.angle, self.brightness = shift, scale, angle, brightness

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Replace the image by a changed one of the same shape."""
        image = sample['image']
        height, width = image.shape[:2]
        turn, grow, right, down, gain = np.random.uniform(-1, 1, 5)
        matrix = cv2.getRotationMatrix2D(
            (width / 2, height / 2), turn * self.angle, 1 + grow * self.scale
        )
        matrix[:, 2] += (right * self.shift * width, down * self.shift * height)
        image = cv2.warpAffine(image, matrix, (width, height))
        return {**sample, 'image': cv2.convertScaleAbs(image, alpha=1 + gain * self.brightness)}

"""One size for all images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class FitSquare:
    """Fit ``image`` into a square: as large as it goes, black where its shape leaves room.

    Config lines::

        dict(type='FitSquare', size=224)

    Args:
        size: Height and width in pixels.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f'size is a number of pixels, not {size}')
        self.size = size

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Replace the image by one of ``(size, size, 3)``."""
        image = sample['image']
        longer = max(image.shape[:2])
        if image.shape[:2] == (self.size, self.size):
            return sample
        height, width = (max(1, round(side * self.size / longer)) for side in image.shape[:2])
        way = cv2.INTER_AREA if longer > self.size else cv2.INTER_LINEAR
        top, left = (self.size - height) // 2, (self.size - width) // 2
        square = np.zeros((self.size, self.size, 3), image.dtype)
        square[top : top + height, left : left + width] = cv2.resize(
            image, (width, height), interpolation=way
        )
        return {**sample, 'image': square}

"""Reading images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage:
    """Read ``img_path`` into ``image``, RGB, ``(H, W, 3)`` uint8; grey images get equal channels.

    Config lines::

        pipeline=[
            dict(type='LoadImage'), dict(type='FitSquare', size=224), dict(type='PackImageText')]
    """

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Add the image.

        Raises:
            ValueError: The file is no image that OpenCV can read.
        """
        content = np.frombuffer(Path(sample['img_path']).read_bytes(), np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
        if image is None:
            raise ValueError(
                f'{sample["img_path"]} ({len(content)} bytes) is no image that OpenCV can read: '
                'replace it, or remove its line from the annotation file'
            )
        return {**sample, 'image': cv2.cvtColor(image, cv2.COLOR_BGR2RGB)}

"""Clips of uint8 to normalised batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS


@MODELS.register_module()
class ClipPreprocessor(BaseDataPreprocessor):
    """Stacks clips, and normalises their channels.

    Config lines::

        data_preprocessor=dict(                          # CLIP
            type='ClipPreprocessor', to_rgb=True,
            mean=[122.77, 116.75, 104.09], std=[68.50, 66.63, 70.32])

    Args:
        mean: Of the channels, in the order behind ``to_rgb``, on the scale 0 to 255.
        std: The same.
        to_rgb: Clips come with blue first: put red first.
    """

    def __init__(
        self,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (255.0, 255.0, 255.0),
        to_rgb: bool = False,
    ) -> None:
        super().__init__()
        self.to_rgb = to_rgb
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return ``inputs`` ``(B, T, 3, H, W)`` of float32, and ``data_samples``.

        Raises:
            ValueError: The clips of the batch have different shapes.
        """
        data = self.cast_data(data)
        clips = data['inputs']
        if not isinstance(clips, torch.Tensor):
            shapes = {tuple(clip.shape) for clip in clips}
            if len(shapes) > 1:
                raise ValueError(
                    f'clips of one batch have the shapes {sorted(shapes)}: let the pipeline end '
                    'with one num_frames and one size'
                )
            clips = torch.stack(list(clips))
        clips = clips.flip(2) if self.to_rgb else clips
        return {**data, 'inputs': (clips.float() - self.mean) / self.std}

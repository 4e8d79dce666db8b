"""A perceptron over both projections."""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from medvl.fusions.base import Fusion, Seen


@MODELS.register_module()
class ConcatFusion(Fusion):
    """Both projections side by side, through two linear layers.

    Config lines::

        fusion=dict(type='ConcatFusion', dropout=0.1)

    Args:
        channels: As in :class:`Fusion`.
        image_channels: As in :class:`Fusion`.
        text_channels: As in :class:`Fusion`.
        dropout: Between the layers.
    """

    def __init__(
        self, channels: int, image_channels: int, text_channels: int, dropout: float = 0.0
    ) -> None:
        super().__init__(channels, image_channels, text_channels)
        self.layers = nn.Sequential(
            nn.Linear(2 * channels, channels),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(channels, channels),
        )

    def forward(self, image: Seen, text: Seen) -> Tensor:
        """Return ``(B, channels)``."""
        return self.layers(torch.cat([image.vector, text.vector], 1))

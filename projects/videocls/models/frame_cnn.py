"""A small convolutional encoder of single frames."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill_hf.stem import ConvStem


@MODELS.register_module()
class FrameCNN(BaseModule):
    """Convolutions of stride 2, then one linear layer over all positions.

    It keeps where things are: a mean over positions would lose the place of a limb.

    Config lines::

        backbone=dict(type='FrameCNN', channels=(16, 32, 48, 64), out_channels=96, image_size=48)

    Args:
        channels: Of each convolution.
        out_channels: Of the frame's vector.
        image_size: Height and width of the frames in pixels.
    """

    def __init__(self, channels: Sequence[int], out_channels: int, image_size: int) -> None:
        super().__init__()
        self.out_channels, self.image_size = out_channels, image_size
        self.stem = ConvStem(channels)
        side = -(-image_size // self.stem.stride)
        self.linear = nn.Linear(channels[-1] * side * side, out_channels)
        self.act = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, 3, image_size, image_size)`` to ``(B, out_channels)``."""
        return self.act(self.linear(self.stem(images).flatten(1)))

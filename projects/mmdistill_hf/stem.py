"""Convolutions before a transformer."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ConvStem(BaseModule):
    """Convolutions of stride 2, each with batch norm and ReLU, in place of large patches.

    A vision transformer learns faster, and from fewer images, behind a few of them.

    Source: Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021.

    Config lines::

        backbone=dict(
            type='HFVisionEncoder', stem=dict(type='ConvStem', channels=(24, 48, 96)),
            config=dict(
                model_type='clip_vision_model', image_size=6, patch_size=1, num_channels=96))

    Args:
        channels: Output channels of each convolution.
        in_channels: Channels of the images.
    """

    def __init__(self, channels: Sequence[int], in_channels: int = 3) -> None:
        super().__init__()
        self.stride = 2 ** len(channels)
        layers: list[nn.Module] = []
        for before, after in zip([in_channels, *channels[:-1]], channels, strict=True):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, channels[-1], H / stride, W / stride)``."""
        return self.layers(images)

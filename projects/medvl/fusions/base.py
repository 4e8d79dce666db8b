"""What every fusion takes and returns."""

from __future__ import annotations

from typing import NamedTuple

from mmengine.model import BaseModule
from torch import Tensor


class Seen(NamedTuple):
    """What an encoder saw.

    Attributes:
        vector: The projection of all of it, ``(B, D)``.
        tokens: Its parts, ``(B, N, C)``.
        mask: Which parts count, ``(B, N)``, true where they do; ``None``: all.
    """

    vector: Tensor
    tokens: Tensor
    mask: Tensor | None = None


class Fusion(BaseModule):
    """Base of the fusions: ``fusion(image, text) -> (B, channels)``.

    Args:
        channels: Width ``D`` of the projections and of the result.
        image_channels: Width ``C`` of the image's tokens.
        text_channels: Width of the text's tokens.

    All three are given by the classifier.
    """

    def __init__(self, channels: int, image_channels: int, text_channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, image: Seen, text: Seen) -> Tensor:
        """Fuse what was seen."""
        raise NotImplementedError

"""Frames to one vector a clip."""

from __future__ import annotations

import math

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

MODES = ('mean', 'attention', 'attention+position', 'transformer')


@MODELS.register_module()
class TemporalPool(BaseModule):
    """Pools the vectors of a clip's frames over time.

    ========================  ==============================================================
    ``mode``                  the clip's vector
    ========================  ==============================================================
    ``'mean'``                the mean of the frames
    ``'attention'``           their mean by learned weights, which sum up to 1
    ``'attention+position'``  the same of frames to which their place in time was added
    ``'transformer'``         those through transformer layers, then their mean
    ========================  ==============================================================

    The first two do not know the order of frames: sitting down and standing up are the same to
    them, whatever they have learned.

    Config lines::

        neck=dict(type='TemporalPool', in_channels=320, channels=512, mode='attention')

    Args:
        in_channels: Channels of a frame's vector; a :class:`VideoClassifier` fills them in.
        channels: Of the clip's vector; ``None`` for the same. Frames are mapped to them first
            (``neck.project`` is the address of the sequence ``(B, T, channels)``).
        mode: One of the table's modes.
        num_frames: Frames of a clip, for the last two modes.
        num_layers: Of the transformer.
        num_heads: Of its attention.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int | None = None,
        mode: str = 'mean',
        num_frames: int | None = None,
        num_layers: int = 1,
        num_heads: int = 4,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f'mode is one of {MODES}, not {mode!r}')
        has_order = mode in MODES[2:]
        if has_order and num_frames is None:
            raise ValueError(f'mode={mode!r} learns the places of frames: give num_frames')
        self.mode, self.num_frames = mode, num_frames
        self.out_channels = channels = channels or in_channels
        self.project = (
            nn.Linear(in_channels, channels) if channels != in_channels else nn.Identity()
        )
        if has_order:
            self.norm = nn.LayerNorm(channels)
            self.position = nn.Parameter(_waves(num_frames, channels))
        if mode == 'transformer':
            layer = nn.TransformerEncoderLayer(
                channels, num_heads, 2 * channels, dropout=0.0, batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        if mode.startswith('attention'):
            self.attention = FrameAttention(channels)

    def forward(self, frames: Tensor) -> Tensor:
        """Pool ``(B, T, in_channels)`` to ``(B, channels)``.

        Raises:
            ValueError: Another number of frames than positions were learned for.
        """
        frames = self.project(frames)
        if self.mode in MODES[2:]:
            if frames.shape[1] != self.num_frames:
                raise ValueError(
                    f'clips of {frames.shape[1]} frames, and places of {self.num_frames} were '
                    'learned: sample as many, or set num_frames of the neck'
                )
            frames = self.norm(frames) + self.position
        if self.mode == 'transformer':
            frames = self.layers(frames)
        if not self.mode.startswith('attention'):
            return frames.mean(1)
        weights = self.attention(frames)
        return (weights[..., None] * frames).sum(1)


class FrameAttention(BaseModule):
    """How much each frame counts.

    Args:
        channels: Of a frame's vector.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 1)
        self.score = nn.Sequential(nn.Linear(channels, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Return weights ``(B, T)`` of ``(B, T, channels)``, which sum up to 1."""
        return self.score(frames).squeeze(2).softmax(1)


def _waves(length: int, channels: int) -> Tensor:
    """Sines and cosines of a place, ``(length, channels)``.

    As in Vaswani et al., "Attention Is All You Need", NeurIPS 2017, with frequencies that fit few
    places: from a quarter of a wave over the clip to a half one a frame.
    """
    place = (torch.arange(length) + 0.5)[:, None] / length
    waves = torch.linspace(0.25, length / 2, -(-channels // 2))[None]
    angle = 2 * math.pi * place * waves
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :channels]

"""Image and text look at each other's parts."""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from medvl.fusions.base import Fusion, Seen


@MODELS.register_module()
class CrossAttentionFusion(Fusion):
    """The image asks the words of the text, the text asks the patches of the image.

    In each layer either projection is the query of a multi-head attention over the other side's
    tokens, whose answer is added to it, and a feed-forward follows. Both ends go through a
    perceptron as in :class:`~medvl.fusions.ConcatFusion`.

    Source: Lu et al., "ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations for
    Vision-and-Language Tasks", NeurIPS 2019 (its co-attention).

    Config lines::

        fusion=dict(type='CrossAttentionFusion', num_layers=2, num_heads=8)

    Args:
        channels: As in :class:`Fusion`.
        image_channels: As in :class:`Fusion`.
        text_channels: As in :class:`Fusion`.
        num_layers: How often they ask.
        num_heads: Heads of each attention; they divide ``channels``.
        dropout: In attentions and feed-forwards.
    """

    def __init__(
        self,
        channels: int,
        image_channels: int,
        text_channels: int,
        num_layers: int = 1,
        num_heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(channels, image_channels, text_channels)
        if channels % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide channels={channels}')
        self.image_asks = nn.ModuleList(
            _Question(channels, text_channels, num_heads, dropout) for _ in range(num_layers)
        )
        self.text_asks = nn.ModuleList(
            _Question(channels, image_channels, num_heads, dropout) for _ in range(num_layers)
        )
        self.out = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.GELU(), nn.Linear(channels, channels)
        )

    def forward(self, image: Seen, text: Seen) -> Tensor:
        """Return ``(B, channels)``."""
        from_image, from_text = image.vector, text.vector
        for image_asks, text_asks in zip(self.image_asks, self.text_asks, strict=True):
            from_image, from_text = image_asks(from_image, text), text_asks(from_text, image)
        return self.out(torch.cat([from_image, from_text], 1))


class _Question(nn.Module):
    """One vector's attention over tokens, and a feed-forward."""

    def __init__(self, channels: int, token_channels: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.token_norm = nn.LayerNorm(token_channels)
        self.attention = nn.MultiheadAttention(
            channels, num_heads, dropout, batch_first=True, kdim=token_channels, vdim=token_channels
        )
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 2 * channels),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * channels, channels),
        )

    def forward(self, query: Tensor, seen: Seen) -> Tensor:
        tokens = self.token_norm(seen.tokens)
        ignored = None if seen.mask is None else ~seen.mask.bool()
        answer, _ = self.attention(
            self.norm(query)[:, None], tokens, tokens, key_padding_mask=ignored, need_weights=False
        )
        query = query + answer[:, 0]
        return query + self.feed_forward(query)

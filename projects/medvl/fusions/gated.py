"""A gate between image and text."""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from medvl.fusions.base import Fusion, Seen


@MODELS.register_module()
class GatedFusion(Fusion):
    r"""Each channel is taken from the image or from the text, as both together say.

    .. math:: z = g \odot \tanh(W_i i) + (1 - g) \odot \tanh(W_t t), \quad g = \sigma(W [i; t])

    Source: Arevalo et al., "Gated Multimodal Units for Information Fusion", ICLR Workshop 2017.

    Config lines::

        fusion=dict(type='GatedFusion')
    """

    def __init__(self, channels: int, image_channels: int, text_channels: int) -> None:
        super().__init__(channels, image_channels, text_channels)
        self.image = nn.Linear(channels, channels)
        self.text = nn.Linear(channels, channels)
        self.gate = nn.Linear(2 * channels, channels)

    def forward(self, image: Seen, text: Seen) -> Tensor:
        """Return ``(B, channels)``."""
        gate = self.gate(torch.cat([image.vector, text.vector], 1)).sigmoid()
        return torch.lerp(self.text(text.vector).tanh(), self.image(image.vector).tanh(), gate)

"""The text conditions the image."""

from mmengine.registry import MODELS
from torch import Tensor, nn

from medvl.fusions.base import Fusion, Seen


@MODELS.register_module()
class FiLMFusion(Fusion):
    r"""The text scales and shifts every channel of the image.

    .. math:: z = W_2\, \mathrm{gelu}((1 + \gamma(t)) \odot W_1 i + \beta(t))

    Source: Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.

    Config lines::

        fusion=dict(type='FiLMFusion')
    """

    def __init__(self, channels: int, image_channels: int, text_channels: int) -> None:
        super().__init__(channels, image_channels, text_channels)
        self.image = nn.Linear(channels, channels)
        self.film = nn.Linear(channels, 2 * channels)
        self.out = nn.Sequential(nn.GELU(), nn.Linear(channels, channels))

    def forward(self, image: Seen, text: Seen) -> Tensor:
        """Return ``(B, channels)``."""
        scale, shift = self.film(text.vector).chunk(2, 1)
        return self.out((1 + scale) * self.image(image.vector) + shift)

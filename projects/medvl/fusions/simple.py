"""A fusion without parameters."""

from mmengine.registry import MODELS
from torch import Tensor

from medvl.fusions.base import Fusion, Seen


@MODELS.register_module()
class SumFusion(Fusion):
    """The mean of both projections: each adds its evidence, none reads the other's.

    Config lines::

        fusion=dict(type='SumFusion')
    """

    def forward(self, image: Seen, text: Seen) -> Tensor:
        """Return ``(B, channels)``."""
        return (image.vector + text.vector) / 2

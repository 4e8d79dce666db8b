"""Projector: a feature map to one embedding per sample."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.connectors.checks import check_channels
from mmdistill.contracts import Connector
from mmdistill.reading.shapes import Layer
from mmdistill.reading.sparse import is_sparse, pool_sparse
from mmdistill.widths import HasWidths

POOLS = ('avg', 'max', 'avg+max')


@MODELS.register_module()
class MLPProjector(HasWidths, Connector):
    """Pools a feature over its positions and maps it to a normalised embedding.

    A linear layer over a flattened BEV map would need billions of weights, so positions are
    pooled first. With ``hidden_channels=None`` it is the linear embedding of CRD (Tian et al.,
    ICLR 2020), else the two-layer head of SimCLR (Chen et al., ICML 2020).

    Config lines::

        projector=dict(type='MLPProjector', pool='avg+max', hidden_channels=256)

    Args:
        in_channels: Channels ``C`` of the feature; read from the layer.
        out_channels: Size ``D`` of the embedding.
        hidden_channels: Width of the hidden layer; ``None`` for a single linear layer.
        pool: ``'avg'``, ``'max'`` or ``'avg+max'`` (both, concatenated).
        normalize: Scale embeddings to unit length.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int = 128,
        hidden_channels: int | None = None,
        pool: str = 'avg',
        normalize: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if pool not in POOLS:
            raise ValueError(f'pool is one of {POOLS}, not {pool!r}')
        self.pool, self.normalize = pool, normalize
        self.out_channels, self.hidden_channels = out_channels, hidden_channels
        self.take_widths(in_channels=in_channels)

    def make(self, in_channels: int) -> None:
        """Make the layers."""
        width = in_channels * (2 if self.pool == 'avg+max' else 1)
        if self.hidden_channels is None:
            self.layers = nn.Sequential(nn.Linear(width, self.out_channels))
        else:
            self.layers = nn.Sequential(
                nn.Linear(width, self.hidden_channels),
                nn.ReLU(),
                nn.Linear(self.hidden_channels, self.out_channels),
            )

    def bind(self, layer: Layer, other: Layer) -> None:
        """Read the channels of the layer."""
        self.bind_widths(in_channels=layer)

    def forward(self, feature: Any) -> Tensor:
        """Embed a feature.

        Args:
            feature: ``(B, C)``, ``(B, C, N)``, ``(B, C, H, W)``, or a sparse tensor of spconv with
                ``C`` channels.

        Returns:
            Embeddings ``(B, out_channels)``.
        """
        self.demand_widths()
        # Not under autocast: in fp16 a sum over a map or the square of a length overflows.
        with torch.autocast(self.layers[0].weight.device.type, enabled=False):
            embedding = self.layers(self._pool(feature))
            return F.normalize(embedding, dim=1) if self.normalize else embedding

    def _pool(self, feature: Any) -> Tensor:
        in_channels = self.widths['in_channels']
        if is_sparse(feature):
            avg, peak = pool_sparse(feature, self.layers[0].weight.dtype)
            check_channels(avg, in_channels, 'in_channels')
        else:
            check_channels(feature, in_channels, 'in_channels')
            feature = feature.to(self.layers[0].weight.dtype)
            flat = feature.flatten(2) if feature.dim() > 2 else feature[..., None]
            avg = flat.mean(2) if 'avg' in self.pool else None
            peak = flat.amax(2) if 'max' in self.pool else None
        pooled = {'avg': [avg], 'max': [peak], 'avg+max': [avg, peak]}[self.pool]
        return torch.cat(pooled, dim=1)

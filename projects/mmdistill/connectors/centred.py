"""A projector without weights to train: directions from the mean of all features."""

from __future__ import annotations

from typing import Any

import torch
from mmengine import dist
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.connectors.checks import check_channels
from mmdistill.contracts import Connector
from mmdistill.reading.shapes import Layer
from mmdistill.widths import HasWidths


@MODELS.register_module()
class CentredProjector(HasWidths, Connector):
    r"""Takes a running mean off features and scales what is left to unit length.

    For the teacher of a contrastive loss: its embeddings then say what its features say, and two
    trained projectors cannot agree on something that neither model computes. Features behind a ReLU
    or a norm lie in one narrow cone; without their mean the directions differ.

    .. math:: t_i = \frac{f_i - m}{|f_i - m|}, \qquad m \leftarrow (1 - a)\, m + a\, \bar f

    In training mode ``m`` follows the finite rows of all ranks' batches, the first of which it is
    set to.

    Source: the DINO teacher's centre, Caron et al., "Emerging Properties in Self-Supervised Vision
    Transformers", ICCV 2021.

    Config lines::

        loss=dict(type='CRDLoss', teacher_projector=dict(type='CentredProjector'))

    Args:
        in_channels: Channels ``C`` of the feature; read from the layer.
        out_channels: Size ``D`` of the embedding, which is ``C``.
        momentum: ``a``, the part of a new mean.

    Raises:
        ValueError: ``C`` and ``D`` differ, or ``momentum`` is not in (0, 1].
    """

    keeps_channels = True
    mean: Tensor
    is_set: Tensor

    def __init__(
        self,
        in_channels: int | None = None,
        out_channels: int = 128,
        momentum: float = 0.01,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not 0 < momentum <= 1:
            raise ValueError(f'momentum is above 0 and at most 1, got {momentum}')
        self.out_channels, self.momentum = out_channels, momentum
        self.register_buffer('mean', torch.zeros(out_channels))
        self.register_buffer('is_set', torch.zeros((), dtype=torch.bool))
        self.take_widths(in_channels=in_channels)

    def make(self, in_channels: int) -> None:
        """Check that the embedding is as wide as the feature; there is nothing to make."""
        if in_channels != self.out_channels:
            raise ValueError(
                f'{type(self).__name__} keeps the {in_channels} channels of its feature, but the '
                f'embeddings have {self.out_channels}: leave embed_dims out'
            )

    def bind(self, layer: Layer, other: Layer) -> None:
        """Read the channels of the layer."""
        self.bind_widths(in_channels=layer)

    def forward(self, feature: Any) -> Tensor:
        """Embed features.

        Args:
            feature: ``(B, C)``, or ``(B, C, ...)``, averaged over positions.

        Returns:
            Embeddings ``(B, C)``.
        """
        self.demand_widths()
        check_channels(feature, self.out_channels, 'in_channels')
        feature = feature.to(self.mean.dtype)
        feature = feature.flatten(2).mean(2) if feature.dim() > 2 else feature
        if self.training:
            self._follow(feature.detach())
        return F.normalize(feature - self.mean, dim=1)

    @torch.no_grad()
    def _follow(self, rows: Tensor) -> None:
        rows = rows[rows.isfinite().all(1)]
        total = torch.cat([rows.sum(0), rows.new_full((1,), len(rows))])
        if dist.get_world_size() > 1:
            dist.all_reduce(total)
        count = total[-1]
        new = total[:-1] / count.clamp(min=1)
        part = torch.where(self.is_set, self.momentum, 1.0) * (count > 0)
        self.mean.lerp_(new, part.to(new.dtype))
        self.is_set |= count > 0

"""Connector between maps whose spatial axes are in the other order."""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.connectors.checks import check_map
from mmdistill.contracts import Connector
from mmdistill.reading import Layer


@MODELS.register_module()
class TransposeConnector(Connector):
    """Swaps the two spatial axes of a map.

    BEVFusion's maps are ``(B, C, X, Y)``, those of pillar and voxel detectors such as CenterPoint
    ``(B, C, Y, X)``. A link between detectors that tell their axes swaps them by itself.

    Config lines::

        teacher_connector=dict(type='TransposeConnector')      # BEVFusion teaches CenterPoint
    """

    joins_places = True

    def facts(self, layer: Layer) -> dict[str, Any]:
        """Return the exchanged axes."""
        return dict(axes={'xy': 'yx', 'yx': 'xy'}.get(layer.axes), range=layer.range)

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, W, H)``.

        Raises:
            ValueError: The feature is no map.
        """
        check_map(feature)
        return feature.transpose(2, 3).contiguous()

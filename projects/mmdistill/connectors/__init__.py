"""Connectors: what a feature passes on its way to a loss."""

from mmdistill.connectors.concat import ConcatConnector
from mmdistill.connectors.conv import ConvConnector
from mmdistill.connectors.projector import MLPProjector
from mmdistill.connectors.resize import ResizeConnector
from mmdistill.connectors.sparse import SparseLinearConnector

__all__ = [
    'ConcatConnector',
    'ConvConnector',
    'MLPProjector',
    'ResizeConnector',
    'SparseLinearConnector',
]

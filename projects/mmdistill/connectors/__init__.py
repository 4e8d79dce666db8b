"""Connectors: what a feature passes on its way to a loss."""

from mmdistill.connectors.centred import CentredProjector
from mmdistill.connectors.concat import ConcatConnector
from mmdistill.connectors.conv import ConvConnector
from mmdistill.connectors.linear import LinearConnector
from mmdistill.connectors.projector import MLPProjector
from mmdistill.connectors.resize import ResizeConnector
from mmdistill.connectors.sparse import SparseLinearConnector
from mmdistill.connectors.tokens import (
    SequenceConnector,
    TokenPoolConnector,
    TokensToMapConnector,
)

__all__ = [
    'CentredProjector',
    'ConcatConnector',
    'ConvConnector',
    'LinearConnector',
    'MLPProjector',
    'ResizeConnector',
    'SequenceConnector',
    'SparseLinearConnector',
    'TokenPoolConnector',
    'TokensToMapConnector',
]

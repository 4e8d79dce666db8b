"""Connectors: what a feature passes on its way to a loss."""

from mmdistill.connectors.checks import check_channels
from mmdistill.connectors.conv import ConvConnector
from mmdistill.connectors.projector import MLPProjector

__all__ = ['ConvConnector', 'MLPProjector', 'check_channels']

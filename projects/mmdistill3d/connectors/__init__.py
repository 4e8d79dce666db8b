"""Connectors that know metres and the order of BEV axes."""

from mmdistill3d.connectors.align import BEVAligner, align_maps
from mmdistill3d.connectors.range import RangeConnector
from mmdistill3d.connectors.transpose import TransposeConnector

__all__ = ['BEVAligner', 'RangeConnector', 'TransposeConnector', 'align_maps']

"""Losses between what detection heads answer: class maps, boxes and object queries."""

from mmdistill3d.losses.response.anchor_head import AnchorHeadKDLoss
from mmdistill3d.losses.response.center_head import CenterHeadKDLoss
from mmdistill3d.losses.response.heatmap import HeatmapKDLoss
from mmdistill3d.losses.response.mono import MonoHeadKDLoss, SMOKEHeadKDLoss
from mmdistill3d.losses.response.proposals import ProposalKDLoss
from mmdistill3d.losses.response.transfusion import TransFusionKDLoss

__all__ = [
    'AnchorHeadKDLoss',
    'CenterHeadKDLoss',
    'HeatmapKDLoss',
    'MonoHeadKDLoss',
    'ProposalKDLoss',
    'SMOKEHeadKDLoss',
    'TransFusionKDLoss',
]

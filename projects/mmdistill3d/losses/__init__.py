"""Losses that know boxes, detection heads and sparse tensors, one family a file or folder."""

from mmdistill3d.losses.contrastive import ObjectContrastLoss
from mmdistill3d.losses.relational import ObjectRelationLoss
from mmdistill3d.losses.response import (
    AnchorHeadKDLoss,
    CenterHeadKDLoss,
    HeatmapKDLoss,
    MonoHeadKDLoss,
    ProposalKDLoss,
    SMOKEHeadKDLoss,
    TransFusionKDLoss,
)
from mmdistill3d.losses.sparse import SparseFeatureLoss

__all__ = [
    'AnchorHeadKDLoss',
    'CenterHeadKDLoss',
    'HeatmapKDLoss',
    'MonoHeadKDLoss',
    'ObjectContrastLoss',
    'ObjectRelationLoss',
    'ProposalKDLoss',
    'SMOKEHeadKDLoss',
    'SparseFeatureLoss',
    'TransFusionKDLoss',
]

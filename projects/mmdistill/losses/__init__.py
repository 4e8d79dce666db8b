"""Losses between a student's and a teacher's feature, one family a file."""

from mmdistill.losses.attention import AttentionTransferLoss, NSTLoss
from mmdistill.losses.channel import CWDLoss, PKDLoss
from mmdistill.losses.contrastive import CRDLoss
from mmdistill.losses.feature import CosineLoss, FeatureL1Loss, FitNetLoss, NormalizedMSELoss
from mmdistill.losses.generative import FactorTransferLoss, MGDLoss, VIDLoss
from mmdistill.losses.infonce import ContrastiveLoss

__all__ = [
    'AttentionTransferLoss',
    'CRDLoss',
    'CWDLoss',
    'ContrastiveLoss',
    'CosineLoss',
    'FactorTransferLoss',
    'FeatureL1Loss',
    'FitNetLoss',
    'MGDLoss',
    'NSTLoss',
    'NormalizedMSELoss',
    'PKDLoss',
    'VIDLoss',
]

"""Losses between a student's and a teacher's feature, one family a file."""

from mmdistill.losses.attention import AttentionTransferLoss, NSTLoss
from mmdistill.losses.channel import CWDLoss, PKDLoss
from mmdistill.losses.contrastive import CRDLoss
from mmdistill.losses.distribution import MMDLoss
from mmdistill.losses.feature import CosineLoss, FeatureL1Loss, FitNetLoss, NormalizedMSELoss
from mmdistill.losses.generative import FactorTransferLoss, MGDLoss, VIDLoss
from mmdistill.losses.gram import ICKDLoss
from mmdistill.losses.infonce import ContrastiveLoss
from mmdistill.losses.logits import DISTLoss, DKDLoss, KDLoss, LogitStandardKDLoss
from mmdistill.losses.relational import CCLoss, PKTLoss, RKDLoss, SPLoss

__all__ = [
    'AttentionTransferLoss',
    'CCLoss',
    'CRDLoss',
    'CWDLoss',
    'ContrastiveLoss',
    'CosineLoss',
    'DISTLoss',
    'DKDLoss',
    'FactorTransferLoss',
    'FeatureL1Loss',
    'FitNetLoss',
    'ICKDLoss',
    'KDLoss',
    'LogitStandardKDLoss',
    'MGDLoss',
    'MMDLoss',
    'NSTLoss',
    'NormalizedMSELoss',
    'PKDLoss',
    'PKTLoss',
    'RKDLoss',
    'SPLoss',
    'VIDLoss',
]

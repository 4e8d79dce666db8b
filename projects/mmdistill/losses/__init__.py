"""Losses between a student's and a teacher's feature, one family a file."""

from mmdistill.losses.attention import AttentionTransferLoss
from mmdistill.losses.contrastive import ContrastiveLoss, CRDLoss
from mmdistill.losses.feature import FitNetLoss

__all__ = ['AttentionTransferLoss', 'CRDLoss', 'ContrastiveLoss', 'FitNetLoss']

"""Losses between a student's and a teacher's feature, one family a file."""

from mmdistill.losses.attention import AttentionTransferLoss
from mmdistill.losses.contrastive import CRDLoss
from mmdistill.losses.feature import FitNetLoss
from mmdistill.losses.infonce import ContrastiveLoss

__all__ = ['AttentionTransferLoss', 'CRDLoss', 'ContrastiveLoss', 'FitNetLoss']

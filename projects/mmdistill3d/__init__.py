"""Distillation of 3D detectors: what knows boxes, BEV grids and sparse tensors."""

import mmdistill  # noqa: F401  (registers Distiller, links, losses and hooks)
from mmdistill3d.bevfusion_distiller import BEVFusionDistiller

__all__ = ['BEVFusionDistiller']

"""Distillation of 3D detectors: what knows boxes, BEV grids and sparse tensors."""

import mmdistill  # noqa: F401  (registers Distiller, links, losses and hooks)
from mmdistill3d.bevfusion_distiller import BEVFusionDistiller
from mmdistill3d.init_hook import Det3DInitHook

__all__ = ['BEVFusionDistiller', 'Det3DInitHook']

"""Distillation of 3D detectors: what knows boxes, BEV grids and sparse tensors."""

import mmdistill  # noqa: F401  (registers Distiller, links, losses and hooks)
from mmdistill3d import losses
from mmdistill3d.bev import BEVGrid
from mmdistill3d.bevfusion_distiller import BEVFusionDistiller
from mmdistill3d.connectors import BEVAligner, RangeConnector, TransposeConnector
from mmdistill3d.grids import MapGrid
from mmdistill3d.init_hook import Det3DInitHook
from mmdistill3d.keep_instance_ids import KeepInstanceIds
from mmdistill3d.masks import BoxMask
from mmdistill3d.object_sampler import ObjectSampler
from mmdistill3d.recipe import fit_links
from mmdistill3d.teacher_labels import TeacherLabels

__all__ = [
    'BEVAligner',
    'BEVFusionDistiller',
    'BEVGrid',
    'BoxMask',
    'Det3DInitHook',
    'KeepInstanceIds',
    'MapGrid',
    'ObjectSampler',
    'RangeConnector',
    'TeacherLabels',
    'TransposeConnector',
    'fit_links',
    'losses',
]

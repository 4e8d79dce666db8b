"""Distillation of 3D detectors: what knows boxes, BEV grids and sparse tensors."""

from mmdistill import register_example  # and registers Distiller, links, losses and hooks
from mmdistill3d import losses, rows  # noqa: F401  (rows registers)
from mmdistill3d.bev import BEVGrid
from mmdistill3d.bevfusion_distiller import BEVFusionDistiller
from mmdistill3d.connectors import BEVAligner, RangeConnector, TransposeConnector
from mmdistill3d.examples import example_batch
from mmdistill3d.grids import MapGrid
from mmdistill3d.init_hook import Det3DInitHook
from mmdistill3d.keep_instance_ids import KeepInstanceIds
from mmdistill3d.masks import BoxMask
from mmdistill3d.object_sampler import ObjectSampler
from mmdistill3d.query_sampler import QuerySampler
from mmdistill3d.teacher_labels import TeacherLabels

# One frame is enough for shapes, and a few points for a sparse encoder.
register_example(lambda model: example_batch(model, samples=1, points=2000))

__all__ = [
    'BEVAligner',
    'BEVFusionDistiller',
    'BEVGrid',
    'BoxMask',
    'Det3DInitHook',
    'KeepInstanceIds',
    'MapGrid',
    'ObjectSampler',
    'QuerySampler',
    'RangeConnector',
    'TeacherLabels',
    'TransposeConnector',
    'example_batch',
    'losses',
]

"""Distillation of 3D detectors: what knows boxes, BEV grids and sparse tensors."""

from mmdistill.reading.shapes import register_example
from mmdistill3d import losses
from mmdistill3d.bev import BEVGrid
from mmdistill3d.bevfusion_distiller import BEVFusionDistiller
from mmdistill3d.examples import example_batch
from mmdistill3d.init_hook import Det3DInitHook
from mmdistill3d.keep_instance_ids import KeepInstanceIds
from mmdistill3d.masks import BoxMask
from mmdistill3d.object_sampler import ObjectSampler
from mmdistill3d.recipe import fit_links
from mmdistill3d.teacher_labels import TeacherLabels

register_example(example_batch)

__all__ = [
    'BEVFusionDistiller',
    'BEVGrid',
    'BoxMask',
    'Det3DInitHook',
    'KeepInstanceIds',
    'ObjectSampler',
    'TeacherLabels',
    'example_batch',
    'fit_links',
    'losses',
]

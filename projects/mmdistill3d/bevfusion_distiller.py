"""Distiller for pairs of BEVFusion detectors."""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor

from mmdistill import Distiller, Teacher
from mmdistill.data_preprocessor import same_settings


@MODELS.register_module()
class BEVFusionDistiller(Distiller):
    """A :class:`~mmdistill.Distiller` whose BEVFusion teachers share the student's voxels.

    BEVFusion voxelises inside the detector. When a teacher's voxelisation has the student's
    settings, the points of a batch are voxelised once, with the student's training limits.

    Config lines::

        custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)
        model = dict(
            type='BEVFusionDistiller',
            student={{_base_.model}},
            teacher=dict(config='configs/bevfusion/bevfusion_lidar_teacher.py', checkpoint='...'),
            links=dict(
                neck_crd=dict(
                    student='pts_neck[0]', teacher='pts_neck[0]',
                    loss=dict(type='CRDLoss', student_channels=256, teacher_channels=512))))

    Args:
        **kwargs: Those of :class:`~mmdistill.Distiller`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, model in [('student', self.student)] + [
            (name, teacher.model) for name, teacher in self.teachers.items()
        ]:
            if not hasattr(model, 'pts_voxel_layer'):
                raise ValueError(
                    f'BEVFusionDistiller joins BEVFusion detectors, but the {name} is '
                    f"{type(model).__name__}; use type='Distiller' for any other pair"
                )
        self._shares_voxels = {
            name: same_settings(teacher.model.pts_voxel_layer, self.student.pts_voxel_layer)
            for name, teacher in self.teachers.items()
        }

    def loss(self, inputs: dict, data_samples: list, **kwargs: Any) -> dict[str, Tensor]:
        """Return the student's losses and one for each link; see :class:`~mmdistill.Distiller`."""
        if any(self._shares_voxels.values()):
            inputs = {**inputs, 'pts_voxels': self.student.voxelize(inputs['points'])}
        return super().loss(inputs, data_samples, **kwargs)

    def run_teacher(
        self, teacher: Teacher, data: dict | None, inputs: dict, data_samples: list, **kwargs: Any
    ) -> Any:
        """Run one teacher, without the student's voxels where its own differ."""
        if not self._shares_voxels[teacher.name]:
            inputs = {key: value for key, value in inputs.items() if key != 'pts_voxels'}
        return super().run_teacher(teacher, data, inputs, data_samples, **kwargs)

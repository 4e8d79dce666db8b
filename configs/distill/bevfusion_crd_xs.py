# CRD, attention and features of the neck for student XS.
_base_ = [
    '../bevfusion/bevfusion_lidar_student_xs.py',
    '../_base_/distill/bevfusion_crd.py',
    '../_base_/distill/bevfusion_teacher.py',
]
from mmdistill3d import fit_links

custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)
model = dict(
    _delete_=True,
    type='BEVFusionDistiller',
    student=_base_.model,
    teacher=_base_.teacher,
    links=fit_links(_base_.links, student=_base_.model, teacher=_base_.teacher.config),
)
custom_hooks = _base_.custom_hooks + _base_.distill_hooks
auto_scale_lr = dict(enable=True)

# CRD of the objects in the neck on nuScenes, from the published teacher. Another student is one option:
#   --cfg-options model.student.config=configs/bevfusion/bevfusion_lidar_student_xs.py
_base_ = [
    '../bevfusion/bevfusion_lidar_student_s.py',
    '../_base_/distill/hooks.py',
    '../_base_/distill/crd.py',
]
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='BEVFusionDistiller',
    student=dict(config='configs/bevfusion/bevfusion_lidar_student_s.py'),
    teacher=dict(
        config='configs/bevfusion/bevfusion_lidar_teacher.py',
        checkpoint='checkpoints/bevfusion_lidar_teacher.pth',
    ),
    links=_base_.links,
)
custom_hooks = _base_.custom_hooks + _base_.distill_hooks
auto_scale_lr = dict(enable=True)  # the rates are for 8 GPUs of 4 samples

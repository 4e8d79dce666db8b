# Teacher and student of the embedded data set, not linked yet: a config on top adds model.links.
_base_ = ['hooks.py', '../../bevfusion/bevfusion_lidar_student_mini.py']
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='BEVFusionDistiller',
    student=dict(config='configs/bevfusion/bevfusion_lidar_student_mini.py'),
    teacher=dict(
        config='configs/bevfusion/bevfusion_lidar_teacher_mini.py',
        checkpoint='configs/bevfusion/bevfusion_lidar_teacher_mini.pth',
    ),
    links=dict(),
)
custom_hooks = _base_.distill_hooks

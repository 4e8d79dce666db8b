# BEVFusion-LiDAR on nuScenes: the published teacher teaches a student of 56 % of its parameters.
_base_ = [
    '../bevfusion/bevfusion_lidar_student_s.py',
    '../_base_/distill/bevfusion_crd.py',
]
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='BEVFusionDistiller',
    student={{_base_.model}},
    teacher=dict(
        config='configs/bevfusion/bevfusion_lidar_teacher.py',
        checkpoint='checkpoints/bevfusion_lidar_teacher.pth',
    ),
    links={{_base_.links}},
)
custom_hooks = _base_.custom_hooks + _base_.distill_hooks
auto_scale_lr = dict(enable=True)  # the rates are for 8 GPUs of 4 samples

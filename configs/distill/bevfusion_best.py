# The best recipe on nuScenes, from the published teacher: a start from its most important channels,
# and its object queries. Another student is one option:
#   --cfg-options model.student.config=configs/bevfusion/bevfusion_lidar_student_xs.py
_base_ = [
    '../bevfusion/bevfusion_lidar_student_s.py',
    '../_base_/distill/hooks.py',
    '../_base_/distill/best.py',
]
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='BEVFusionDistiller',
    student=dict(config='configs/bevfusion/bevfusion_lidar_student_s.py'),
    # Its weights: train it, or take the published ones, MMDetection3D's as they are; of those of
    # mit-han-lab/bevfusion, converted, bevfusion_lidar_teacher_mit.py is the config.
    teacher=dict(
        config='configs/bevfusion/bevfusion_lidar_teacher.py',
        checkpoint='checkpoints/bevfusion_lidar_teacher.pth',
    ),
    links=_base_.links,
)
custom_hooks = _base_.custom_hooks + _base_.distill_hooks + [dict(type='Det3DInitHook')]
auto_scale_lr = dict(enable=True)  # the rates are for 8 GPUs of 4 samples

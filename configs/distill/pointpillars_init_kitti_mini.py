# PointPillars on lidarsim-KITTI: start from the teacher's most important channels, and learn from the
# annotations alone.
_base_ = ['../_base_/distill/hooks.py', '../pointpillars/pointpillars_kitti_mini.py']
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='Distiller',
    student=dict(config='configs/pointpillars/pointpillars_kitti_mini.py'),
    teacher=dict(
        config='configs/pointpillars/pointpillars_teacher_kitti_mini.py',
        checkpoint='work_dirs/pointpillars_teacher_kitti_mini/epoch_5.pth',
    ),
    links=dict(),
)
custom_hooks = [*_base_.distill_hooks, dict(type='Det3DInitHook')]

# CenterPoint with pillars: start from the teacher's weights, and learn from the annotations alone.
_base_ = ['../_base_/distill/hooks.py', '../centerpoint/centerpoint_pillar_mini.py']
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='Distiller',
    student=dict(config='configs/centerpoint/centerpoint_pillar_mini.py'),
    teacher=dict(
        config='configs/centerpoint/centerpoint_pillar_teacher_mini.py',
        checkpoint='work_dirs/centerpoint_pillar_teacher_mini/epoch_5.pth',
    ),
    links=dict(),
)
custom_hooks = [*_base_.distill_hooks, dict(type='Det3DInitHook')]

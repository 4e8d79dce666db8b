# Vanilla: beside its own cross entropy the student learns the teacher's softened answers.
_base_ = ['./medsim_student.py']
model = dict(
    _delete_=True,
    type='Distiller',
    student={{_base_.model}},
    teacher=dict(
        config='configs/medvl/medsim_teacher.py', checkpoint='work_dirs/medsim_teacher/best'
    ),
    links=dict(
        modality_kd=dict(
            student='heads.modality',
            teacher='heads.modality',
            loss=dict(type='KDLoss', temperature=2.0),
        ),
        location_kd=dict(
            student='heads.location',
            teacher='heads.location',
            loss=dict(type='KDLoss', temperature=2.0),
        ),
    ),
)
custom_hooks = [
    dict(type='DistillHook'),
    dict(type='StudentCheckpointHook'),
    dict(type='RandomStateHook'),
    dict(type='FinalTestHook'),
    dict(type='MetricsFileHook'),
]

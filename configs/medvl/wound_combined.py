# Wound-1-0, the student under its teacher: answers (alpha = 1, T = 4), features (beta = 100) and
# contrast in the batch (gamma = 10).
_base_ = ['./wound_student.py']
feature = dict(
    student_connector=dict(type='LinearConnector'), loss=dict(type='FitNetLoss'), weight=100.0
)
contrast = dict(loss=dict(type='ContrastiveLoss', temperature=0.1), weight=10.0)
model = dict(
    _delete_=True,
    type='Distiller',
    student={{_base_.model}},
    teacher=dict(
        config='configs/medvl/wound_teacher.py', checkpoint='work_dirs/wound_teacher/best'
    ),
    links=dict(
        {
            f'{task}_kd': dict(
                student=f'heads.{task}',
                teacher=f'heads.{task}',
                loss=dict(type='KDLoss', temperature=4.0),
            )
            for task in _base_.classes
        },
        image_feature=dict(student='img_proj', teacher='img_raw', **feature),
        text_feature=dict(student='txt_proj', teacher='txt_raw', **feature),
        image_contrast=dict(student='img_proj', teacher='img_raw', **contrast),
        text_contrast=dict(student='txt_proj', teacher='txt_raw', **contrast),
    ),
)
custom_hooks = [
    dict(type='DistillHook'),
    dict(type='StudentCheckpointHook'),
    dict(type='RandomStateHook'),
    dict(type='FinalTestHook'),
    dict(type='MetricsFileHook'),
]

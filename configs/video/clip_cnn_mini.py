# The small CLIP teaches the small CNN: the document's three terms, at the mini size.
_base_ = './cnn_student_mini.py'
feature_weight, response_weight, task_weight, temperature = 0.5, 1.0, 0.5, 3.0
model = dict(
    _delete_=True,
    type='Distiller',
    student={{_base_.model}},
    student_weight=task_weight,
    teacher=dict(
        config='configs/video/clip_teacher_mini.py',
        checkpoint='configs/video/clip_teacher_mini.pth',  # ships; see its note
    ),
    links=dict(
        feature=dict(
            student='neck',
            teacher='neck',
            weight=feature_weight,
            loss=dict(type='NormalizedMSELoss'),
        ),
        response=dict(
            student='head.fc',
            teacher='head.fc',
            weight=response_weight,
            loss=dict(type='KDLoss', temperature=temperature),
        ),
    ),
)
custom_hooks = [
    dict(type='DistillHook'),
    dict(type='StudentCheckpointHook'),
    *_base_.custom_hooks,
]

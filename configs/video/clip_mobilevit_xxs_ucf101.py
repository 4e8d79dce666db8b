# CLIP ViT-B/32 teaches MobileViT-XXS: feature + response + task, 0.5 / 1.0 / 0.1.
_base_ = './mobilevit_xxs_ucf101.py'
alpha, beta, gamma, temperature = 0.5, 1.0, 0.1, 3.0
channels = 512  # of a clip's vector, the teacher's and the student's
model = dict(
    _delete_=True,
    type='Distiller',
    student={{_base_.model}},
    student_weight=gamma,
    teacher=dict(
        config='configs/video/clip_vit_b32_ucf101.py',
        checkpoint='work_dirs/clip_vit_b32_ucf101/last',
    ),
    links=dict(
        # The mean over channels, where NormalizedMSELoss takes the sum.
        feature=dict(
            student='neck',
            teacher='neck',
            weight=alpha,
            loss=dict(type='NormalizedMSELoss', loss_weight=1 / channels),
        ),
        response=dict(
            student='head.fc',
            teacher='head.fc',
            weight=beta,
            loss=dict(type='KDLoss', temperature=temperature),
        ),
    ),
)
custom_hooks = [
    dict(type='DistillHook'),
    dict(type='StudentCheckpointHook'),
    *_base_.custom_hooks,
]

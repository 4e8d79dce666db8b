# Between two anchor heads of the same anchors: scores, and boxes at the teacher's foreground.
_base_ = ['../pointpillars/pointpillars_mini.py']
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='Distiller',
    student={{_base_.model}},
    teacher=dict(
        config='configs/pointpillars/pointpillars_teacher_mini.py',
        checkpoint='work_dirs/pointpillars_teacher_mini/epoch_5.pth',
    ),
    links=dict(
        head_kd=dict(
            student='pts_bbox_head',
            teacher='pts_bbox_head',
            loss=dict(type='AnchorHeadKDLoss', box_weight=0.5, loss_weight=1.0),
        )
    ),
)
custom_hooks = [
    dict(type='DistillHook'),
    dict(type='StudentCheckpointHook'),
    dict(type='RandomStateHook'),
]

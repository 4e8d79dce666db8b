# Between two centre heads: class maps where objects are, and the boxes there, in metres.
_base_ = ['../centerpoint/centerpoint_pillar_mini.py']
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='Distiller',
    student={{_base_.model}},
    teacher=dict(
        config='configs/centerpoint/centerpoint_pillar_teacher_mini.py',
        checkpoint='work_dirs/centerpoint_pillar_teacher_mini/epoch_5.pth',
    ),
    links=dict(
        head_kd=dict(
            # A copy: CenterHead's own loss overwrites its logits by probabilities.
            student=dict(layer='pts_bbox_head', clone=True),
            teacher='pts_bbox_head',
            loss=dict(
                type='CenterHeadKDLoss',
                heatmap_weight=5.0,
                box_weight=0.25,
            ),
        )
    ),
)
custom_hooks = [
    dict(type='DistillHook'),
    dict(type='StudentCheckpointHook'),
    dict(type='RandomStateHook'),
]

# Another family by the same code: a BEVFusion teacher and a CenterPoint student. BEVFusion's maps
# are [x, y], CenterPoint's [y, x]: the links join them by themselves.
_base_ = ['../centerpoint/centerpoint_pillar_mini.py']
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

layers = dict(student='pts_neck[0]', teacher='pts_neck[0]')
model = dict(
    _delete_=True,
    type='Distiller',
    student={{_base_.model}},
    teacher=dict(
        config='configs/bevfusion/bevfusion_lidar_teacher_mini.py',
        checkpoint='configs/bevfusion/bevfusion_lidar_teacher_mini.pth',
    ),
    links=dict(
        neck_crd=dict(
            **layers,
            loss=dict(
                type='CRDLoss',
                student_channels=64,
                teacher_channels=128,
                projector=dict(pool='avg+max'),
                memory=dict(num_negatives=512),
                loss_weight=0.1,
            ),
        ),
        neck_attention=dict(**layers, loss=dict(type='AttentionTransferLoss', loss_weight=6.0)),
        neck_feature=dict(
            **layers,
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            loss=dict(type='FitNetLoss', loss_weight=4.0),
        ),
    ),
)
custom_hooks = [
    dict(type='DistillHook'),
    dict(type='StudentCheckpointHook'),
    dict(type='RandomStateHook'),
]

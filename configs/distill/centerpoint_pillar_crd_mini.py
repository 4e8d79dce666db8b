# Another family by the same code: a BEVFusion teacher and a CenterPoint student, which cannot start
# from its weights. BEVFusion's maps are [x, y], CenterPoint's [y, x]: the links join them by
# themselves.
_base_ = ['../centerpoint/centerpoint_pillar_mini.py', '../_base_/distill/hooks.py']
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

neck = dict(student='pts_neck[0]', teacher='pts_neck[0]')
model = dict(
    _delete_=True,
    type='Distiller',
    student=dict(config='configs/centerpoint/centerpoint_pillar_mini.py'),
    teacher=dict(
        config='configs/bevfusion/bevfusion_lidar_teacher_mini.py',
        checkpoint='configs/bevfusion/bevfusion_lidar_teacher_mini.pth',
    ),
    links=dict(
        neck_crd=dict(
            **neck,
            loss=dict(
                type='CRDLoss',
                granularity='object',
                embed_dims=128,  # the channels of the teacher's neck
                projector=dict(pool='avg'),
                teacher_projector=dict(type='CentredProjector'),
                memory=dict(num_negatives=512, negatives='all', temperature=0.2),
                loss_weight=0.2,
            ),
        ),
        neck_feature=dict(
            **neck,
            student_connector=dict(type='ConvConnector'),
            mask=dict(type='BoxMask', shape='gaussian', background=0.002),
            loss=dict(type='FitNetLoss', loss_weight=0.25),
        ),
    ),
)
custom_hooks = _base_.distill_hooks
del neck

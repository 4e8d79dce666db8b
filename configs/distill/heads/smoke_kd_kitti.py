# SMOKE without deformable convolutions in its neck, taught by the published one: heatmap and boxes.
# Needs KITTI's images as MMDetection3D prepares them.
_base_ = [
    'mmdet3d::smoke/smoke_dla34_dlaneck_gn-all_4xb8-6x_kitti-mono3d.py',
    '../../_base_/distill/hooks.py',
]
custom_imports = dict(imports=['mmdistill3d'], allow_failed_imports=False)

smoke = 'mmdet3d::smoke/smoke_dla34_dlaneck_gn-all_4xb8-6x_kitti-mono3d.py'
model = dict(
    _delete_=True,
    type='Distiller',
    student=dict(config=smoke, neck=dict(use_dcn=False)),
    teacher=dict(config=smoke, checkpoint='checkpoints/smoke_dla34_kitti.pth'),
    links=dict(
        head=dict(student='bbox_head', teacher='bbox_head', loss=dict(type='SMOKEHeadKDLoss')),
    ),
)
custom_hooks = _base_.distill_hooks

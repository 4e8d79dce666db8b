# FCOS3D with ResNet-50, taught by the published one with ResNet-101: scores, boxes, centre-ness.
# Needs nuScenes' images as MMDetection3D prepares them.
_base_ = [
    'mmdet3d::fcos3d/fcos3d_r101-caffe-dcn_fpn_head-gn_8xb2-1x_nus-mono3d.py',
    '../../_base_/distill/hooks.py',
]
custom_imports = dict(imports=['mmdistill3d'], allow_failed_imports=False)

fcos3d = 'mmdet3d::fcos3d/fcos3d_r101-caffe-dcn_fpn_head-gn_8xb2-1x_nus-mono3d.py'
model = dict(
    _delete_=True,
    type='Distiller',
    student=dict(
        config=fcos3d,
        backbone=dict(depth=50, init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet50_caffe')),
    ),
    teacher=dict(config=fcos3d, checkpoint='checkpoints/fcos3d_r101_nus.pth'),
    links=dict(
        head=dict(student='bbox_head', teacher='bbox_head', loss=dict(type='MonoHeadKDLoss')),
    ),
)
custom_hooks = _base_.distill_hooks

# PV-RCNN with half of its 2D backbone: both stages; the teacher's second looks at the student's boxes.
# Needs KITTI as MMDetection3D prepares it, and a trained teacher.
_base_ = ['mmdet3d::pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py', '../../_base_/distill/hooks.py']
custom_imports = dict(imports=['mmdistill3d'], allow_failed_imports=False)

pv_rcnn = 'mmdet3d::pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py'
bbox_forward = dict(type='MethodCall', layer='roi_head', method='_bbox_forward')
model = dict(
    _delete_=True,
    type='Distiller',
    student=dict(
        config=pv_rcnn,
        backbone=dict(out_channels=[64, 128]),
        neck=dict(in_channels=[64, 128], out_channels=[128, 128]),
        rpn_head=dict(in_channels=256, feat_channels=256),
    ),
    teacher=dict(config=pv_rcnn, checkpoint='checkpoints/pv_rcnn_kitti.pth'),
    links=dict(
        proposals=dict(student='rpn_head', teacher='rpn_head', loss=dict(type='AnchorHeadKDLoss')),
        second_stage=dict(
            student=dict(bbox_forward, clone=True),
            teacher=bbox_forward,
            loss=dict(type='RoIHeadKDLoss'),
        ),
    ),
)
custom_hooks = _base_.distill_hooks

# VoteNet of half the width: proposals are matched by where they are, never by number.
# Needs SUN RGB-D as MMDetection3D prepares it, and a trained teacher.
_base_ = ['mmdet3d::votenet/votenet_8xb16_sunrgbd-3d.py', '../../_base_/distill/hooks.py']
custom_imports = dict(imports=['mmdistill3d'], allow_failed_imports=False)

votenet = 'mmdet3d::votenet/votenet_8xb16_sunrgbd-3d.py'
model = dict(
    _delete_=True,
    type='Distiller',
    student=dict(
        config=votenet,
        backbone=dict(
            sa_channels=((32, 32, 64), (64, 64, 128), (64, 64, 128), (64, 64, 128)),
            fp_channels=((128, 128), (128, 128)),
        ),
        bbox_head=dict(
            vote_module_cfg=dict(in_channels=128, conv_channels=(128, 128)),
            vote_aggregation_cfg=dict(mlp_channels=[128, 64, 64, 64]),
            pred_layer_cfg=dict(in_channels=64, shared_conv_channels=(64, 64)),
        ),
    ),
    teacher=dict(config=votenet, checkpoint='checkpoints/votenet_sunrgbd.pth'),
    links=dict(
        proposals=dict(
            student='bbox_head',
            teacher='bbox_head',
            loss=dict(type='ProposalKDLoss', loss_weight=1.0),
        ),
    ),
)
custom_hooks = _base_.distill_hooks

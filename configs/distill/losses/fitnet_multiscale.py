# FitNet between the backbones, both scales in one link.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        backbone_fitnet=dict(
            student='pts_backbone',
            teacher='pts_backbone',
            student_connector=[
                dict(type='ConcatConnector', in_channels=[32, 64]),
                dict(type='ConvConnector', in_channels=96, out_channels=192),
            ],
            teacher_connector=dict(type='ConcatConnector', in_channels=[64, 128]),
            loss=dict(type='FitNetLoss', loss_weight=4.0),
        )
    )
)

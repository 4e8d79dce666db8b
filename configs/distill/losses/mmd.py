# MMD between the necks: the same features occur, wherever they do.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_mmd=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            loss=dict(type='MMDLoss', kernel='rbf', items=(16, 16), loss_weight=7.0),
        )
    )
)

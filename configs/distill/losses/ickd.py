# ICKD between the necks: which channels fire together, in each sixteenth of the map.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_ickd=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            loss=dict(type='ICKDLoss', grid=(4, 4), loss_weight=10.0),
        )
    )
)

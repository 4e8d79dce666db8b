# PKD between the necks: scale and offset of a channel do not matter, good across families.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_pkd=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            loss=dict(type='PKDLoss', loss_weight=9.0),
        )
    )
)

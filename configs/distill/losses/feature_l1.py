# Smooth L1 between the necks: a few strong activations of the teacher do not dominate.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_l1=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            loss=dict(type='FeatureL1Loss', beta=0.5, loss_weight=2.0),
        )
    )
)

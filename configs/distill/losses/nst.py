# NST between the necks: the set of channel patterns, in any order and number.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_nst=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(type='NSTLoss', kernel='polynomial', loss_weight=30.0),
        )
    )
)

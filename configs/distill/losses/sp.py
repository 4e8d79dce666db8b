# SP between cells of the neck: which parts of a scene look alike.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_sp=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(type='SPLoss', items=(8, 8), loss_weight=1000.0),
        )
    )
)

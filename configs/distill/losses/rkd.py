# RKD between positions of objects: how far apart, and in which directions, their features lie.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_rkd=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            mask=dict(type='BoxMask', point_cloud_range={{_base_.point_cloud_range}}),
            loss=dict(type='RKDLoss', items=64, loss_weight=3.0),
        )
    )
)

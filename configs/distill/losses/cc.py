# CC between cells of the neck: the same table of similarities as SP, behind a kernel.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_cc=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(type='CCLoss', items=(8, 8), loss_weight=100.0),
        )
    )
)

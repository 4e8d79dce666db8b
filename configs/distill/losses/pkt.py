# PKT between cells of the neck: which cells each cell takes for its neighbours.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_pkt=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(type='PKTLoss', items=(8, 8), loss_weight=200.0),
        )
    )
)

# Attention transfer between the necks: needs no connector, whatever the channels are.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_attention=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(type='AttentionTransferLoss', mode='sum', loss_weight=1.5),
        )
    )
)

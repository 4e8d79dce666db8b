# Losses between patterns of activation, at the neck: no connector, whatever the channels are. The
# first trains; another one by
#   --cfg-options model.links.attention_transfer.weight=0 model.links.nst.weight=1
_base_ = ['../../_base_/distill/mini_pair.py']
neck = dict(student='pts_neck[0]', teacher='pts_neck[0]')
model = dict(
    links=dict(
        attention_transfer=dict(
            loss=dict(type='AttentionTransferLoss', mode='sum', loss_weight=1.5), **neck
        ),
        # Among the cells of objects alone: which of them the teacher looks at most.
        attention_transfer_masked=dict(
            weight=0,
            mask=dict(type='BoxMask'),
            loss=dict(type='AttentionTransferLoss', mode='sum', loss_weight=0.55),
            **neck,
        ),
        # The set of channel patterns, in any order and number.
        nst=dict(
            weight=0, loss=dict(type='NSTLoss', kernel='polynomial', loss_weight=30.0), **neck
        ),
    )
)
del neck

# Losses whose own network predicts the teacher's neck. The first trains; another one by
#   --cfg-options model.links.mgd.weight=0 model.links.vid.weight=1
_base_ = ['../../_base_/distill/mini_pair.py']
neck = dict(student='pts_neck[0]', teacher='pts_neck[0]')
model = dict(
    links=dict(
        # The teacher's map is generated from a part of the student's.
        mgd=dict(loss=dict(type='MGDLoss', loss_weight=20.0), **neck),
        # The teacher's map compressed to half its channels.
        factor_transfer=dict(
            weight=0, loss=dict(type='FactorTransferLoss', rate=0.5, loss_weight=10.0), **neck
        ),
        # Channels that the student cannot predict lose their weight.
        vid=dict(weight=0, loss=dict(type='VIDLoss', loss_weight=10.0), **neck),
    )
)
del neck

# Attention among the cells of objects alone: which of them the teacher looks at most.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_attention=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            mask=dict(type='BoxMask', point_cloud_range={{_base_.point_cloud_range}}),
            loss=dict(type='AttentionTransferLoss', mode='sum', loss_weight=0.55),
        )
    )
)

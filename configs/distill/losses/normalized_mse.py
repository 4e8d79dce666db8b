# Distance of unit channel vectors between the necks: empty cells count as much as objects do.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_normalized_mse=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            loss=dict(type='NormalizedMSELoss', loss_weight=5.0),
        )
    )
)

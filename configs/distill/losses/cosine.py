# Directions of the channel vectors at objects' cells: their strength is the student's own.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_cosine=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            mask=dict(type='BoxMask', point_cloud_range={{_base_.point_cloud_range}}),
            loss=dict(type='CosineLoss', loss_weight=3.5),
        )
    )
)

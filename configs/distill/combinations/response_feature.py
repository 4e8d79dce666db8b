# Heads and necks: the response links, and the teacher's features in the cells of objects.
_base_ = ['response.py']
model = dict(
    links=dict(
        neck_feature=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            mask=dict(
                type='BoxMask',
                point_cloud_range={{_base_.point_cloud_range}},
                shape='gaussian',
                background=0.002,
            ),
            loss=dict(type='FitNetLoss', loss_weight=0.25),
        )
    )
)

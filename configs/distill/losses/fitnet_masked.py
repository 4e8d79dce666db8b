# FitNet between the necks where objects are: each box counts alike, its centre most.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_fitnet=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            mask=dict(
                type='BoxMask', point_cloud_range={{_base_.point_cloud_range}}, shape='gaussian'
            ),
            loss=dict(type='FitNetLoss', loss_weight=0.25),
        )
    )
)

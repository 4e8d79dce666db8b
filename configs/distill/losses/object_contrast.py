# Contrast of objects: each box of the batch is told apart from those of other classes.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_object_contrast=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(
                type='ObjectContrastLoss',
                student_channels=64,
                teacher_channels=128,
                point_cloud_range={{_base_.point_cloud_range}},
                same_class='ignore',
                loss_weight=0.3,
            ),
        )
    )
)

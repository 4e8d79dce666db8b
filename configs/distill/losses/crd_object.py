# CRD of objects between the necks: features in the boxes, told apart from those of other classes.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_crd_object=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(
                type='CRDLoss',
                student_channels=64,
                teacher_channels=128,
                granularity=dict(type='object', point_cloud_range={{_base_.point_cloud_range}}),
                memory=dict(queue_length=256, num_negatives=512),
                loss_weight=0.23,
            ),
        )
    )
)

# Relations between the points of each box: no connector, and a pedestrian counts as a truck does.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_object_relation=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(
                type='ObjectRelationLoss',
                point_cloud_range={{_base_.point_cloud_range}},
                loss_weight=10.0,
            ),
        )
    )
)

# CRD of whole scenes between the necks, as published: what the two maps say on average.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_crd=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(
                type='CRDLoss',
                student_channels=64,
                teacher_channels=128,
                projector=dict(pool='avg+max'),
                memory=dict(num_negatives=512),
                loss_weight=0.15,
            ),
        )
    )
)

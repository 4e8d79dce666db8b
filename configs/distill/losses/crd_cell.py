# CRD of cells between the necks: what lies where, for negatives from all over the data set.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_crd_cell=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(
                type='CRDLoss',
                student_channels=64,
                teacher_channels=128,
                granularity=dict(type='cell', grid=(8, 8)),  # 6.4 m
                memory=dict(num_negatives=512),
                loss_weight=0.45,
            ),
        )
    )
)

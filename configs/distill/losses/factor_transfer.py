# Factor transfer between the necks: the teacher's map compressed to half its channels.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_factor=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(
                type='FactorTransferLoss',
                student_channels=64,
                teacher_channels=128,
                rate=0.5,
                loss_weight=10.0,
            ),
        )
    )
)

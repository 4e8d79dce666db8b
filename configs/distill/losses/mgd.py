# MGD between the necks: the teacher's map is generated from a part of the student's.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_mgd=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(type='MGDLoss', student_channels=64, teacher_channels=128, loss_weight=20.0),
        )
    )
)

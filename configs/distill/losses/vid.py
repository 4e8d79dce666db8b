# VID between the necks: channels that the student cannot predict lose their weight.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_vid=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(type='VIDLoss', student_channels=64, teacher_channels=128, loss_weight=10.0),
        )
    )
)

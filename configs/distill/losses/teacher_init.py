# Start from the teacher's weights: the student's layers are cut from the teacher's before training.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_fitnet=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            loss=dict(type='FitNetLoss', loss_weight=4.0),
        )
    )
)
custom_hooks = [*_base_.custom_hooks, dict(type='Det3DInitHook')]

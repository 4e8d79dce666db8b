# CWD between the necks: where each of the teacher's channels fires, and nothing elsewhere.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_cwd=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            student_connector=dict(type='ConvConnector', in_channels=64, out_channels=128),
            loss=dict(type='CWDLoss', temperature=1.0, loss_weight=3.6),
        )
    )
)

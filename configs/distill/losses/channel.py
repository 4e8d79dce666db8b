# Losses between channels as patterns over the map, at the neck. The first trains; another one by
#   --cfg-options model.links.pkd.weight=0 model.links.cwd.weight=1
_base_ = ['../../_base_/distill/mini_pair.py']
neck = dict(
    student='pts_neck[0]', teacher='pts_neck[0]', student_connector=dict(type='ConvConnector')
)
model = dict(
    links=dict(
        # Scale and offset of a channel do not matter: good across families.
        pkd=dict(loss=dict(type='PKDLoss', loss_weight=9.0), **neck),
        # Where each of the teacher's channels fires, and nothing elsewhere.
        cwd=dict(weight=0, loss=dict(type='CWDLoss', temperature=1.0, loss_weight=3.6), **neck),
        # Which channels fire together, in each sixteenth of the map.
        ickd=dict(weight=0, loss=dict(type='ICKDLoss', grid=(4, 4), loss_weight=10.0), **neck),
        # The same features occur, wherever they do.
        mmd=dict(
            weight=0,
            loss=dict(type='MMDLoss', kernel='rbf', items=(16, 16), loss_weight=7.0),
            **neck,
        ),
    )
)
del neck

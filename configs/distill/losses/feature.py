# Losses between features of one place, at the neck. The first trains; another one by
#   --cfg-options model.links.fitnet.weight=0 model.links.cosine.weight=1
_base_ = ['../../_base_/distill/mini_pair.py']
neck = dict(
    student='pts_neck[0]', teacher='pts_neck[0]', student_connector=dict(type='ConvConnector')
)
model = dict(
    links=dict(
        # Every cell of the map counts alike.
        fitnet=dict(loss=dict(type='FitNetLoss', loss_weight=4.0), **neck),
        # Where objects are: each box counts alike, its centre most.
        fitnet_masked=dict(
            weight=0,
            mask=dict(type='BoxMask', shape='gaussian'),
            loss=dict(type='FitNetLoss', loss_weight=0.25),
            **neck,
        ),
        # Both scales of the backbone in one link.
        fitnet_multiscale=dict(
            weight=0,
            student='pts_backbone',
            teacher='pts_backbone',
            student_connector=[dict(type='ConcatConnector'), dict(type='ConvConnector')],
            teacher_connector=dict(type='ConcatConnector'),
            loss=dict(type='FitNetLoss', loss_weight=4.0),
        ),
        # Smooth L1: a few strong activations of the teacher do not dominate.
        feature_l1=dict(
            weight=0, loss=dict(type='FeatureL1Loss', beta=0.5, loss_weight=2.0), **neck
        ),
        # Distance of unit channel vectors: empty cells count as much as objects do.
        normalized_mse=dict(weight=0, loss=dict(type='NormalizedMSELoss', loss_weight=5.0), **neck),
        # Directions of the channel vectors at objects: their strength is the student's own.
        cosine=dict(
            weight=0,
            mask=dict(type='BoxMask'),
            loss=dict(type='CosineLoss', loss_weight=3.5),
            **neck,
        ),
    )
)
del neck

# CRD between two BEVFusion detectors, beside an attention and a feature loss. Each layer can be
# linked alone or with others: a weight of 0 switches a link off, for example
#   --cfg-options model.links.backbone_crd.weight=1 model.links.neck_crd.weight=0
crd = dict(
    type='CRDLoss',
    projector=dict(pool='avg+max'),
    memory=dict(num_negatives=16384),
    loss_weight=0.1,
)
neck = dict(student='pts_neck[0]', teacher='pts_neck[0]', weight=1)
links = dict(  # becomes model.links
    encoder_crd=dict(
        student='pts_middle_encoder', teacher='pts_middle_encoder', weight=0, loss=crd
    ),
    backbone_crd=dict(student='pts_backbone[1]', teacher='pts_backbone[1]', weight=0, loss=crd),
    neck_crd=dict(loss=crd, **neck),
    neck_attention=dict(loss=dict(type='AttentionTransferLoss', loss_weight=6.0), **neck),
    neck_feature=dict(
        student_connector=dict(type='ConvConnector'),
        loss=dict(type='FitNetLoss', loss_weight=4.0),
        **neck,
    ),
)
del crd, neck

# CRD between two BEVFusion detectors, beside an attention and a feature loss. Each layer can be
# linked alone or with others: a weight of 0 switches a link off, for example
#   --cfg-options model.links.backbone_crd.weight=1 model.links.neck_crd.weight=0
# CRD at the neck tells each object from all others, the teacher's embedding being its features
# themselves, centred: of the forms that were measured, as the only link of a student that starts from
# random weights, the one that gains (projects/mmdistill/memory/README.md).
scenes = dict(
    type='CRDLoss',
    projector=dict(pool='avg+max'),
    memory=dict(num_negatives=16384),
    loss_weight=0.1,
)
objects = dict(
    type='CRDLoss',
    granularity='object',
    embed_dims=512,  # the channels of the teacher's neck
    projector=dict(pool='avg'),
    teacher_projector=dict(type='CentredProjector'),
    memory=dict(num_negatives=512, negatives='all', temperature=0.2),
    loss_weight=0.2,
)
neck = dict(student='pts_neck[0]', teacher='pts_neck[0]', weight=1)
links = dict(  # becomes model.links
    encoder_crd=dict(
        student='pts_middle_encoder', teacher='pts_middle_encoder', weight=0, loss=scenes
    ),
    backbone_crd=dict(student='pts_backbone[1]', teacher='pts_backbone[1]', weight=0, loss=scenes),
    neck_crd=dict(loss=objects, **neck),
    neck_attention=dict(loss=dict(type='AttentionTransferLoss', loss_weight=6.0), **neck),
    neck_feature=dict(
        student_connector=dict(type='ConvConnector'),
        loss=dict(type='FitNetLoss', loss_weight=4.0),
        **neck,
    ),
)
del scenes, objects, neck

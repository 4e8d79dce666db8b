# CRD between the necks of two BEVFusion detectors: each object is told from all others, the teacher's
# embedding being its features themselves, centred. Of the forms that were measured, as the only link of
# a student that starts from random weights, the one that gains for SECOND; for BEVFusion no gain is
# shown (projects/mmdistill/memory/README.md).
# CRD of other layers, attention and features stand beside it, each switched on by its weight:
#   --cfg-options model.links.backbone_crd.weight=1 model.links.neck_crd.weight=0
scenes = dict(
    type='CRDLoss',
    projector=dict(pool='avg+max'),
    memory=dict(num_negatives=16384),
    loss_weight=0.1,
)
objects = dict(
    type='CRDLoss',
    granularity='object',
    projector=dict(pool='avg'),
    teacher_projector=dict(type='CentredProjector'),
    memory=dict(num_negatives=512, negatives='all', temperature=0.2),
    loss_weight=0.2,
)
neck = dict(student='pts_neck[0]', teacher='pts_neck[0]')
links = dict(  # becomes model.links
    encoder_crd=dict(
        student='pts_middle_encoder', teacher='pts_middle_encoder', weight=0, loss=scenes
    ),
    backbone_crd=dict(student='pts_backbone[1]', teacher='pts_backbone[1]', weight=0, loss=scenes),
    neck_crd=dict(weight=1, loss=objects, **neck),
    neck_attention=dict(weight=0, loss=dict(type='AttentionTransferLoss', loss_weight=6.0), **neck),
    neck_feature=dict(
        weight=0,
        student_connector=dict(type='ConvConnector'),
        loss=dict(type='FitNetLoss', loss_weight=4.0),
        **neck,
    ),
)
del scenes, objects, neck

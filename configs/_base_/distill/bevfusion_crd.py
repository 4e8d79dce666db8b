# CRD between two BEVFusion detectors, beside an attention and a feature loss, with the channels
# of full scale; and the hooks of a distillation run.
# A link is one layer of each model and one loss, logged as distill/<its name>. Each layer of the
# detector can be linked alone or with others: a weight of 0 switches a link off, for example
#   --cfg-options model.links.backbone_crd.weight=1 model.links.neck_crd.weight=0
crd = dict(
    type='CRDLoss',
    projector=dict(pool='avg+max'),
    memory=dict(num_negatives=16384),
    loss_weight=0.1,
)
links = dict(  # becomes model.links: change them there
    encoder_crd=dict(
        student='pts_middle_encoder',
        teacher='pts_middle_encoder',
        weight=0,
        loss=dict(student_channels=256, teacher_channels=256, **crd),
    ),
    backbone_crd=dict(
        student='pts_backbone[1]',
        teacher='pts_backbone[1]',
        weight=0,
        loss=dict(student_channels=128, teacher_channels=256, **crd),
    ),
    neck_crd=dict(
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        weight=1,
        loss=dict(student_channels=256, teacher_channels=512, **crd),
    ),
    neck_attention=dict(
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        weight=1,
        loss=dict(type='AttentionTransferLoss', loss_weight=6.0),
    ),
    neck_feature=dict(
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        weight=1,
        student_connector=dict(type='ConvConnector', in_channels=256, out_channels=512),
        loss=dict(type='FitNetLoss', loss_weight=4.0),
    ),
)
distill_hooks = [
    dict(type='DistillHook'),  # memory sizes, schedules, the teacher's fingerprint
    dict(type='StudentCheckpointHook'),  # epoch_N_student.pth beside epoch_N.pth
    dict(type='RandomStateHook'),  # random streams, for resuming
]

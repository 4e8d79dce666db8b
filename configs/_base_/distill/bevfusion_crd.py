# The links and hooks of CRD between two BEVFusion detectors, with the channels of full scale.
# A link is one layer of each model and one loss, logged as distill/<its name>.
links = dict(
    neck_crd=dict(
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        loss=dict(
            type='CRDLoss',
            student_channels=256,
            teacher_channels=512,
            projector=dict(pool='avg+max'),
            memory=dict(num_negatives=16384),
            loss_weight=0.05,
        ),
    ),
    neck_attention=dict(
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        loss=dict(type='AttentionTransferLoss', loss_weight=1.0),
    ),
)
distill_hooks = [
    dict(type='DistillHook'),  # memory sizes, schedules, the teacher's fingerprint
    dict(type='StudentCheckpointHook'),  # epoch_N_student.pth beside epoch_N.pth
    dict(type='RandomStateHook'),  # a resumed run continues bit for bit
]

# Forms of CRD that protocols compare, between the maps of two necks: by name, what a table calls it and
# its loss. `embed_dims` of those with the teacher fixed are the channels of the mini teachers' necks.
few = dict(num_negatives=512)
queue = dict(queue_length=256, **few)
fixed = dict(
    type='CRDLoss',
    granularity='object',
    embed_dims=128,
    projector=dict(pool='avg'),
    teacher_projector=dict(type='CentredProjector'),
    loss_weight=0.2,
)
crd_forms = dict(
    crd_scene=dict(
        label='CRD of scenes',
        loss=dict(type='CRDLoss', projector=dict(pool='avg+max'), memory=few, loss_weight=0.15),
    ),
    crd_cell=dict(
        label='CRD of cells',
        loss=dict(
            type='CRDLoss',
            granularity=dict(type='cell', grid=(8, 8)),
            memory=few,
            loss_weight=0.45,
        ),
    ),
    crd_object=dict(
        label='CRD of objects',
        loss=dict(type='CRDLoss', granularity='object', memory=queue, loss_weight=0.23),
    ),
    crd_fixed=dict(
        label='CRD of objects, the teacher fixed',
        loss=dict(**fixed, memory=dict(temperature=0.2, **queue)),
    ),
    crd_all=dict(
        label='CRD of objects among all others, the teacher fixed',
        loss=dict(**fixed, memory=dict(temperature=0.2, negatives='all', **queue)),
    ),
)
del few, queue, fixed

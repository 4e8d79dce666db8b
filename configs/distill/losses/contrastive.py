# Contrast between the necks. The first trains; another one by
#   --cfg-options model.links.crd.weight=0 model.links.crd_object.weight=1
_base_ = ['../../_base_/distill/mini_pair.py']
neck = dict(student='pts_neck[0]', teacher='pts_neck[0]')
model = dict(
    links=dict(
        # CRD of whole scenes, as published: what the two maps say on average.
        crd=dict(
            loss=dict(
                type='CRDLoss',
                projector=dict(pool='avg+max'),
                memory=dict(num_negatives=512),
                loss_weight=0.15,
            ),
            **neck,
        ),
        # CRD of cells of 6.4 m: what lies where, for negatives from all over the data set.
        crd_cell=dict(
            weight=0,
            loss=dict(
                type='CRDLoss',
                granularity=dict(type='cell', grid=(8, 8)),
                memory=dict(num_negatives=512),
                loss_weight=0.45,
            ),
            **neck,
        ),
        # CRD of objects: features in the boxes, told apart from those of other classes.
        crd_object=dict(
            weight=0,
            loss=dict(
                type='CRDLoss',
                granularity='object',
                memory=dict(queue_length=256, num_negatives=512),
                loss_weight=0.23,
            ),
            **neck,
        ),
        # Objects told apart from all others, those of their class included; the teacher's embedding
        # is its features themselves, 128 channels. For students that start from random weights.
        crd_object_fixed=dict(
            weight=0,
            loss=dict(
                type='CRDLoss',
                granularity='object',
                embed_dims=128,
                projector=dict(pool='avg'),
                teacher_projector=dict(type='CentredProjector'),
                memory=dict(num_negatives=512, negatives='all', temperature=0.2),
                loss_weight=0.2,
            ),
            **neck,
        ),
        # CRD of object queries: what the heads read box and class from, of the same object.
        crd_query=dict(
            student='bbox_head[0][0]',
            teacher='bbox_head[0][0]',
            weight=0,
            loss=dict(
                type='CRDLoss',
                embed_dims=64,
                granularity='query',
                teacher_projector=dict(type='CentredProjector'),
                memory=dict(queue_length=256, num_negatives=512),
                loss_weight=0.1,
            ),
        ),
        # InfoNCE between cells: negatives from the batch alone, no memory.
        contrastive=dict(
            weight=0,
            loss=dict(type='ContrastiveLoss', grid=(8, 8), loss_weight=0.6),
            **neck,
        ),
        # InfoNCE between objects: each is told apart from those of other classes.
        object_contrast=dict(
            weight=0,
            loss=dict(type='ObjectContrastLoss', same_class='ignore', loss_weight=0.3),
            **neck,
        ),
    )
)
del neck

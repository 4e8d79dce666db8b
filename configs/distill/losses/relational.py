# Relations between cells or points of the neck: no connector. The first trains; another one by
#   --cfg-options model.links.rkd.weight=0 model.links.object_relation.weight=1
_base_ = ['../../_base_/distill/mini_pair.py']
neck = dict(student='pts_neck[0]', teacher='pts_neck[0]')
model = dict(
    links=dict(
        # Between positions of objects: how far apart, and in which directions, features lie.
        rkd=dict(
            mask=dict(type='BoxMask'), loss=dict(type='RKDLoss', items=64, loss_weight=3.0), **neck
        ),
        # Which parts of a scene look alike.
        sp=dict(weight=0, loss=dict(type='SPLoss', items=(8, 8), loss_weight=1000.0), **neck),
        # Which cells each cell takes for its neighbours.
        pkt=dict(weight=0, loss=dict(type='PKTLoss', items=(8, 8), loss_weight=200.0), **neck),
        # The same table of similarities as SP, behind a kernel.
        cc=dict(weight=0, loss=dict(type='CCLoss', items=(8, 8), loss_weight=100.0), **neck),
        # Between the points of each box: a pedestrian counts as a truck does.
        object_relation=dict(
            weight=0, loss=dict(type='ObjectRelationLoss', loss_weight=10.0), **neck
        ),
    )
)
del neck

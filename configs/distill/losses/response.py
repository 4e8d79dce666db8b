# Losses between what the heads answer. The first trains; another one by
#   --cfg-options model.links.heatmap_kd.weight=0 model.links.transfusion_kd.weight=1
_base_ = ['../../_base_/distill/mini_pair.py']
heatmap = dict(student='bbox_head.heatmap_head', teacher='bbox_head.heatmap_head')
query = dict(student='bbox_head[0][0]', teacher='bbox_head[0][0]')
model = dict(
    links=dict(
        # Class heatmaps: the student's follows the teacher's where annotated objects are.
        heatmap_kd=dict(loss=dict(type='HeatmapKDLoss', loss_weight=5.0), **heatmap),
        # All classes alike, and each object as much as the next: what is none teaches, too.
        heatmap_kd_masked=dict(
            weight=0,
            mask=dict(type='BoxMask', shape='gaussian', background=0.002),
            loss=dict(type='HeatmapKDLoss', weights='mask', form='kl', loss_weight=20.0),
            **heatmap,
        ),
        # Object queries: those of the teacher teach the student's of the same objects, matched.
        transfusion_kd=dict(
            weight=0, loss=dict(type='TransFusionKDLoss', background=0.2, loss_weight=0.25), **query
        ),
        # Of the sure ones alone.
        transfusion_kd_sure=dict(
            weight=0, loss=dict(type='TransFusionKDLoss', loss_weight=0.25), **query
        ),
        # A heatmap's classes are yes or no each: how sure the teacher is of each.
        kd=dict(
            weight=0,
            loss=dict(type='KDLoss', activation='sigmoid', temperature=2.0, loss_weight=1.0),
            **heatmap,
        ),
        # On objects: which class rather than which, not how sure.
        logit_standard_kd=dict(
            weight=0,
            mask=dict(type='BoxMask'),
            loss=dict(type='LogitStandardKDLoss', temperature=2.0, loss_weight=2.0),
            **heatmap,
        ),
        # On objects: the teacher's class, and apart from it how it ranks the others.
        dkd=dict(
            weight=0,
            mask=dict(type='BoxMask'),
            loss=dict(type='DKDLoss', beta=8.0, temperature=4.0, loss_weight=0.1),
            **heatmap,
        ),
        # Shape of the heatmap for each class, and the classes of each cell, up to scale.
        dist=dict(
            weight=0,
            loss=dict(type='DISTLoss', activation='sigmoid', loss_weight=0.45),
            **heatmap,
        ),
    )
)
del heatmap, query

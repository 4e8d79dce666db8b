# KD of the heatmap, whose classes are yes or no each: how sure the teacher is of each.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        heatmap_kd=dict(
            student='bbox_head.heatmap_head',
            teacher='bbox_head.heatmap_head',
            loss=dict(type='KDLoss', activation='sigmoid', temperature=2.0, loss_weight=1.0),
        )
    )
)

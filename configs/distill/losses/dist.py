# DIST of the heatmap: its shape for each class, and the classes of each cell, up to scale.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        heatmap_dist=dict(
            student='bbox_head.heatmap_head',
            teacher='bbox_head.heatmap_head',
            loss=dict(type='DISTLoss', activation='sigmoid', loss_weight=0.45),
        )
    )
)

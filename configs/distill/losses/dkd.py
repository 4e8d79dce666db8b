# DKD of the heatmap on objects: the teacher's class, and apart from it how it ranks the others.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        heatmap_dkd=dict(
            student='bbox_head.heatmap_head',
            teacher='bbox_head.heatmap_head',
            mask=dict(type='BoxMask', point_cloud_range={{_base_.point_cloud_range}}),
            loss=dict(type='DKDLoss', beta=8.0, temperature=4.0, loss_weight=0.1),
        )
    )
)

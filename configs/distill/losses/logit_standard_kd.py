# Standardised KD of the heatmap on objects: which class rather than which, not how sure.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        heatmap_logit_standard_kd=dict(
            student='bbox_head.heatmap_head',
            teacher='bbox_head.heatmap_head',
            mask=dict(type='BoxMask', point_cloud_range={{_base_.point_cloud_range}}),
            loss=dict(type='LogitStandardKDLoss', temperature=2.0, loss_weight=2.0),
        )
    )
)

# Class heatmaps: the student's follows the teacher's where annotated objects are.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        heatmap_kd=dict(
            student='bbox_head.heatmap_head',
            teacher='bbox_head.heatmap_head',
            loss=dict(
                type='HeatmapKDLoss',
                point_cloud_range={{_base_.point_cloud_range}},
                loss_weight=5.0,
            ),
        )
    )
)

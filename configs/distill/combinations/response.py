# What the heads answer: class heatmaps where objects are, and matched queries.
_base_ = ['../losses/heatmap_kd.py']
model = dict(
    links=dict(
        transfusion_kd=dict(
            student='bbox_head[0][0]',
            teacher='bbox_head[0][0]',
            loss=dict(type='TransFusionKDLoss', loss_weight=0.25),
        )
    )
)

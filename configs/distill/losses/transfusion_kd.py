# Object queries: those of the teacher teach the student's of the same objects, matched.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        transfusion_kd=dict(
            student='bbox_head[0][0]',
            teacher='bbox_head[0][0]',
            loss=dict(type='TransFusionKDLoss', heatmap_weight=1.0, loss_weight=0.25),
        )
    )
)

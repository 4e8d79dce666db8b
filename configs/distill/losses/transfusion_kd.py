# Object queries: those of the teacher teach the student's of the same objects, matched.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        transfusion_kd=dict(
            student='bbox_head[0][0]',
            teacher='bbox_head[0][0]',
            # Class, box and heatmap pull alike at the neck with these weights.
            loss=dict(
                type='TransFusionKDLoss',
                class_weight=4.0,
                box_weight=1.0,
                heatmap_weight=4.0,
                loss_weight=0.15,
            ),
        )
    )
)

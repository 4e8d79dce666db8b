# Start from the teacher's most important channels, then learn from its object queries: of those
# about nothing, too.
_base_ = ['init_important.py']
model = dict(
    links=dict(
        transfusion_kd=dict(
            student='bbox_head[0][0]',
            teacher='bbox_head[0][0]',
            loss=dict(type='TransFusionKDLoss', background=0.2, loss_weight=0.25),
        )
    )
)

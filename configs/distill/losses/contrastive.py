# InfoNCE between cells of the necks: negatives from the batch alone, no memory.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links=dict(
        neck_contrastive=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(
                type='ContrastiveLoss',
                student_channels=64,
                teacher_channels=128,
                grid=(8, 8),
                loss_weight=0.6,
            ),
        )
    )
)

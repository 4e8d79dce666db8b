# CRD of objects with a row for each instance, which moves from frame to frame and does not queue.
_base_ = ['../../_base_/distill/mini_pair.py']

# The filters of boxes and the packing, wrapped.
steps = _base_.train_pipeline
train_pipeline = [*steps[:-4], dict(type='KeepInstanceIds', transforms=steps[-4:])]
del steps
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    links=dict(
        crd_instance=dict(
            student='pts_neck[0]',
            teacher='pts_neck[0]',
            loss=dict(
                type='CRDLoss',
                granularity='object',
                memory=dict(queue_length=1024, num_negatives=512),
                loss_weight=0.23,
            ),
        )
    )
)

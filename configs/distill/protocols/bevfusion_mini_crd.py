# What does CRD add to the best recipe? Each form on top of the same start and links.
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/bevfusion_mini_crd.py
# A search: three seeds. Runs that bevfusion_mini.py has made already are not made again.
_base_ = ['bevfusion_mini.py']
best = 'configs/distill/bevfusion_best_mini.py'
necks = dict(student='pts_neck[0]', teacher='pts_neck[0]')
widths = dict(student_channels=64, teacher_channels=128)

protocol = dict(
    seeds=[0, 1, 2],
    rows=[
        dict(name='started_links', label='started, links', config=best),
        dict(
            name='crd_scene',
            label='and CRD of scenes',
            config=best,
            against=['started_links'],
            options={
                'model.links.neck_crd': dict(
                    **necks,
                    loss=dict(
                        type='CRDLoss',
                        **widths,
                        projector=dict(pool='avg+max'),
                        memory=dict(num_negatives=512),
                        loss_weight=0.15,
                    ),
                )
            },
        ),
        dict(
            name='crd_object',
            label='and CRD of objects',
            config=best,
            against=['started_links'],
            options={
                'model.links.neck_crd_object': dict(
                    **necks,
                    loss=dict(
                        type='CRDLoss',
                        **widths,
                        granularity=dict(
                            type='object', point_cloud_range=[-25.6, -25.6, -5.0, 25.6, 25.6, 3.0]
                        ),
                        memory=dict(queue_length=256, num_negatives=512),
                        loss_weight=0.23,
                    ),
                )
            },
        ),
    ],
)
del best, necks, widths

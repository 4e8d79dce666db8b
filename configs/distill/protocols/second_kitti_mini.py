# What does distilling the mini SECOND gain on the embedded data set in KITTI's form, and what of
# it is the start, what the links? The teacher is trained first, for twice as long.
#   python tools/create_lidarsim.py --out data/lidarsim_kitti
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/second_kitti_mini.py
_base_ = ['_base_/kitti_mini.py', '../../_base_/distill/hooks.py']
plain = 'configs/second/second_kitti_mini.py'
start = 'configs/distill/second_init_kitti_mini.py'
best = 'configs/distill/second_best_kitti_mini.py'
first = dict(custom_hooks=[*_base_.distill_hooks, dict(type='Det3DInitHook', channels='first')])
taught = dict(teacher='second_teacher')

protocol = dict(
    seeds=[0, 1, 2, 3, 4],
    rows=[
        dict(
            name='second_teacher',
            label='teacher',
            config='configs/second/second_teacher_kitti_mini.py',
            epochs=8,
            seeds=[0],
        ),
        dict(name='second_alone', label='alone', config=plain),
        dict(
            name='second_alone_longer',
            label="alone, for the distilled run's time",
            config=plain,
            as_long_as='second_distilled',
            instead_of='second_alone',
            against=['second_alone'],
        ),
        dict(
            name='second_started',
            label="started from the teacher's first channels",
            config=start,
            options=first,
            against=['second_alone'],
            **taught,
        ),
        dict(
            name='second_started_important',
            label='started from its most important channels',
            config=start,
            against=['second_alone', 'second_started'],
            **taught,
        ),
        dict(
            name='second_started_longer',
            label="started from the first channels, for the distilled run's time",
            config=start,
            options=first,
            as_long_as='second_distilled',
            instead_of='second_started',
            against=['second_started'],
            **taught,
        ),
        dict(
            name='second_started_important_longer',
            label="started from the most important channels, for the distilled run's time",
            config=start,
            as_long_as='second_important_links',
            instead_of='second_started_important',
            against=['second_started_important', 'second_started_longer'],
            **taught,
        ),
        dict(
            name='second_links',
            label='links, random start',
            config=best,
            options=dict(custom_hooks=_base_.distill_hooks),
            against=['second_alone'],
            **taught,
        ),
        dict(
            name='second_distilled',
            label='started from the first channels, links',
            config=best,
            options=first,
            against=['second_alone', 'second_started', 'second_started_longer'],
            **taught,
        ),
        dict(
            name='second_important_links',
            label='started from the most important channels, links',
            config=best,
            against=[
                'second_alone',
                'second_started',
                'second_started_important',
                'second_started_important_longer',
            ],
            **taught,
        ),
    ],
)
del plain, start, best, first, taught

# What does distilling the mini SECOND gain on the embedded data set in KITTI's form, and what of
# it is the start, what the links? The teacher is trained first, for twice as long. All controls.
#   python tools/create_lidarsim.py --out data/lidarsim_kitti
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/second_kitti_mini.py
_base_ = ['_base_/kitti_mini.py', '../../_base_/distill/hooks.py']
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
        dict(name='second_alone', label='alone', config='configs/second/second_kitti_mini.py'),
        dict(
            name='second_alone_longer',
            label="alone, for the distilled run's time",
            config='configs/second/second_kitti_mini.py',
            as_long_as='second_distilled',
            instead_of='second_alone',
            against=['second_alone'],
        ),
        dict(
            name='second_started',
            label="started from the teacher's weights",
            config='configs/distill/second_init_kitti_mini.py',
            teacher='second_teacher',
            against=['second_alone'],
        ),
        dict(
            name='second_started_longer',
            label="started, for the distilled run's time",
            config='configs/distill/second_init_kitti_mini.py',
            teacher='second_teacher',
            as_long_as='second_distilled',
            instead_of='second_started',
            against=['second_started'],
        ),
        dict(
            name='second_links',
            label='links, random start',
            config='configs/distill/second_best_kitti_mini.py',
            options=dict(custom_hooks=_base_.distill_hooks),
            teacher='second_teacher',
            against=['second_alone'],
        ),
        dict(
            name='second_distilled',
            label='started, links',
            config='configs/distill/second_best_kitti_mini.py',
            teacher='second_teacher',
            against=['second_alone', 'second_started', 'second_started_longer'],
        ),
    ],
)

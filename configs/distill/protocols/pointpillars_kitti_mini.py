# What does distilling the mini PointPillars gain on the embedded data set in KITTI's form, and what of
# it is the start, what the links? The teacher is trained first, for twice as long.
#   python tools/create_lidarsim.py --out data/lidarsim_kitti
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/pointpillars_kitti_mini.py
_base_ = ['_base_/kitti_mini.py', '../../_base_/distill/hooks.py']
start = 'configs/distill/pointpillars_init_kitti_mini.py'
best = 'configs/distill/pointpillars_best_kitti_mini.py'
first = dict(custom_hooks=[*_base_.distill_hooks, dict(type='Det3DInitHook', channels='first')])
taught = dict(teacher='pointpillars_teacher')

protocol = dict(
    rows=[
        dict(
            name='pointpillars_teacher',
            label='teacher',
            config='configs/pointpillars/pointpillars_teacher_kitti_mini.py',
            epochs=8,
            seeds=[0],
        ),
        dict(
            name='pointpillars_alone',
            label='alone',
            config='configs/pointpillars/pointpillars_kitti_mini.py',
        ),
        dict(
            name='pointpillars_started',
            label="started from the teacher's first channels",
            config=start,
            options=first,
            against=['pointpillars_alone'],
            **taught,
        ),
        dict(
            name='pointpillars_started_important',
            label='started from its most important channels',
            config=start,
            against=['pointpillars_alone', 'pointpillars_started'],
            **taught,
        ),
        dict(
            name='pointpillars_distilled',
            label='started from the first channels, links',
            config=best,
            options=first,
            against=['pointpillars_alone', 'pointpillars_started'],
            **taught,
        ),
        dict(
            name='pointpillars_important_links',
            label='started from the most important channels, links',
            config=best,
            against=['pointpillars_alone', 'pointpillars_started_important'],
            **taught,
        ),
    ],
)
del start, best, first, taught

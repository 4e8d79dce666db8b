# What does distilling the mini PointPillars gain on the embedded data set in KITTI's form, and what of
# it is the start, what the links? The teacher is trained first, for twice as long.
#   python tools/create_lidarsim.py --out data/lidarsim_kitti
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/pointpillars_kitti_mini.py
_base_ = ['_base_/kitti_mini.py']
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
            label="started from the teacher's weights",
            config='configs/distill/pointpillars_init_kitti_mini.py',
            teacher='pointpillars_teacher',
            against=['pointpillars_alone'],
        ),
        dict(
            name='pointpillars_distilled',
            label='started, links',
            config='configs/distill/pointpillars_best_kitti_mini.py',
            teacher='pointpillars_teacher',
            against=['pointpillars_alone', 'pointpillars_started'],
        ),
    ],
)

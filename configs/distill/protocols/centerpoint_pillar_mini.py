# What does distilling the mini CenterPoint gain, and what of it is the start, what the links? The
# teacher is trained first, for half as long again.
#   python tools/create_lidarsim.py --out data/lidarsim_large
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/centerpoint_pillar_mini.py
_base_ = ['bevfusion_mini.py']
protocol = dict(
    epochs=2,
    seeds=[0, 1, 2],
    rows=[
        dict(
            name='centerpoint_teacher',
            label='teacher',
            config='configs/centerpoint/centerpoint_pillar_teacher_mini.py',
            epochs=3,
            seeds=[0],
        ),
        dict(
            name='centerpoint_alone',
            label='alone',
            config='configs/centerpoint/centerpoint_pillar_mini.py',
        ),
        dict(
            name='centerpoint_started',
            label="started from the teacher's weights",
            config='configs/distill/centerpoint_pillar_init_mini.py',
            teacher='centerpoint_teacher',
            against=['centerpoint_alone'],
        ),
        dict(
            name='centerpoint_distilled',
            label='started, links',
            config='configs/distill/centerpoint_pillar_best_mini.py',
            teacher='centerpoint_teacher',
            against=['centerpoint_alone', 'centerpoint_started'],
        ),
    ],
)

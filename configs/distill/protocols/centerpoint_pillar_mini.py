# What does distilling the mini CenterPoint gain, and what of it is the start, what the links? The
# teacher is trained first, for half as long again.
#   python tools/create_lidarsim.py --out data/lidarsim_large
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/centerpoint_pillar_mini.py
_base_ = ['bevfusion_mini.py', '../../_base_/distill/hooks.py']
start = 'configs/distill/centerpoint_pillar_init_mini.py'
best = 'configs/distill/centerpoint_pillar_best_mini.py'
first = dict(custom_hooks=[*_base_.distill_hooks, dict(type='Det3DInitHook', channels='first')])
taught = dict(teacher='centerpoint_teacher')

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
            label="started from the teacher's first channels",
            config=start,
            options=first,
            against=['centerpoint_alone'],
            **taught,
        ),
        dict(
            name='centerpoint_started_important',
            label='started from its most important channels',
            config=start,
            against=['centerpoint_alone', 'centerpoint_started'],
            **taught,
        ),
        dict(
            name='centerpoint_distilled',
            label='started from the first channels, links',
            config=best,
            options=first,
            against=['centerpoint_alone', 'centerpoint_started'],
            **taught,
        ),
        dict(
            name='centerpoint_important_links',
            label='started from the most important channels, links',
            config=best,
            against=['centerpoint_alone', 'centerpoint_started_important'],
            **taught,
        ),
    ],
)
del start, best, first, taught

# The short training of SECOND's students again, behind the teacher of the long one (20 epochs).
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/second_kitti_mini_long_teacher.py
# Runs that second_kitti_mini.py and second_kitti_mini_long.py have made already are not made again.
_base_ = ['second_kitti_mini.py']
by_name = {row['name']: row for row in _base_.protocol.rows}
taught = dict(teacher='second_long_teacher')

protocol = dict(
    seeds=[0, 1, 2, 3, 4],
    rows=[
        {**by_name['second_teacher'], 'name': 'second_long_teacher', 'epochs': 20},
        by_name['second_alone'],
        dict(
            name='second_taught_started',
            label='started from its most important channels',
            config=by_name['second_started_important']['config'],
            against=['second_alone'],
            **taught,
        ),
        dict(
            name='second_taught_started_longer',
            label="started from the most important channels, for the distilled run's time",
            config=by_name['second_started_important']['config'],
            as_long_as='second_taught_links',
            instead_of='second_taught_started',
            against=['second_taught_started'],
            **taught,
        ),
        dict(
            name='second_taught_links',
            label='started from the most important channels, links',
            config=by_name['second_important_links']['config'],
            against=['second_alone', 'second_taught_started', 'second_taught_started_longer'],
            **taught,
        ),
    ],
)
del by_name, taught

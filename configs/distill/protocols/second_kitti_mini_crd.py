# What does CRD add to the best recipe of SECOND, each form on top of the same start and links? And
# to a student alone, which starts from random weights?
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/second_kitti_mini_crd.py
# Runs that second_kitti_mini.py has made already are not made again.
_base_ = ['second_kitti_mini.py']
by_name = {row['name']: row for row in _base_.protocol.rows}
best = by_name['second_important_links']


def with_crd(name, label, **loss):
    """The best recipe, and CRD between the maps of the necks."""
    link = dict(student='neck[0]', teacher='neck[0]', loss=dict(type='CRDLoss', **loss))
    return {
        **best,
        'name': f'second_{name}',
        'label': label,
        'options': {f'model.links.{name}': link},
        'against': ['second_important_links'],
    }


def alone(row):
    """CRD of a row as the only link, behind a random start."""
    (link,) = row['options'].values()
    without = {f'model.links.{name}': None for name in ('head_kd', 'neck_feature')}
    return {
        **row,
        'name': row['name'].replace('crd', 'alone_crd'),
        'label': row['label'].replace('and', 'alone, and'),
        'options': {'custom_hooks': _base_.distill_hooks, **without, 'model.links.crd': link},
        'against': ['second_alone'],
    }


few = dict(num_negatives=512)
forms = [
    with_crd(
        'crd_scene', 'and CRD of scenes', projector=dict(pool='avg+max'), memory=few,
        loss_weight=0.15,
    ),
    with_crd(
        'crd_cell', 'and CRD of cells', granularity=dict(type='cell', grid=(8, 8)), memory=few,
        loss_weight=0.45,
    ),
    with_crd(
        'crd_object', 'and CRD of objects', granularity='object',
        memory=dict(queue_length=256, **few), loss_weight=0.23,
    ),
]  # fmt: skip
protocol = dict(
    rows=[
        by_name['second_teacher'],
        {**best, 'against': []},
        *forms,
        by_name['second_alone'],
        *map(alone, forms),
    ],
)
del with_crd, alone, few, forms, best, by_name

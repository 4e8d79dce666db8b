# What does CRD add to the best recipe of SECOND, each form on top of the same start and links? To a
# student alone, which starts from random weights, or with these links? And to one that is started,
# without other links?
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/second_kitti_mini_crd.py
# Runs that second_kitti_mini.py has made already are not made again.
_base_ = ['second_kitti_mini.py']
by_name = {row['name']: row for row in _base_.protocol.rows}
best = by_name['second_important_links']
alone, links = by_name['second_alone'], by_name['second_links']
started = by_name['second_started_important']


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


def on_top_of(control, row, only=True, **options):
    """CRD of a row on top of a control, as the only link or beside the others."""
    (link,) = row['options'].values()
    others = {f'model.links.{name}': None for name in ('head_kd', 'neck_feature') if only}
    return {
        **row,
        'name': row['name'].replace('second', control['name']),
        'label': f'{control["label"]}, {row["label"]}',
        'options': {**options, **others, 'model.links.crd': link},
        'against': [control['name']],
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
    with_crd(
        'crd_fixed', 'and CRD of objects, the teacher fixed', granularity='object', embed_dims=128,
        projector=dict(pool='avg'), teacher_projector=dict(type='CentredProjector'),
        memory=dict(queue_length=256, temperature=0.2, **few), loss_weight=0.2,
    ),
    with_crd(
        'crd_instance', 'and CRD of objects among all others, the teacher fixed',
        granularity='object', embed_dims=128, projector=dict(pool='avg'),
        teacher_projector=dict(type='CentredProjector'), loss_weight=0.2,
        memory=dict(queue_length=256, temperature=0.2, negatives='all', **few),
    ),
]  # fmt: skip
random_start = dict(custom_hooks=_base_.distill_hooks)
protocol = dict(
    rows=[
        by_name['second_teacher'],
        alone,
        *[on_top_of(alone, form, **random_start) for form in forms],
        {**links, 'against': []},
        on_top_of(links, forms[-1], only=False, **random_start),
        {**started, 'against': []},
        *[on_top_of(started, form) for form in forms[-2:]],
        {**best, 'against': []},
        *forms,
    ],
)
del with_crd, on_top_of, few, forms, random_start, best, alone, links, started, by_name

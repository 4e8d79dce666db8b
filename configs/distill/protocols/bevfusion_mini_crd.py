# What does CRD add to the best recipe? Each form on top of the same start and links, for the student
# of a quarter of the teacher's width, which these leave something to learn. And to the student of half
# the width alone, which starts from random weights?
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/bevfusion_mini_crd.py
# A search: three seeds. Runs that bevfusion_mini_xs.py has made already are not made again.
_base_ = ['bevfusion_mini_xs.py']
best = next(row for row in _base_.protocol.rows if row['name'] == 'xs_started_important_queries')


def with_crd(name, label, layer='pts_neck[0]', **loss):
    """The best recipe, and CRD between two layers."""
    link = dict(student=layer, teacher=layer, loss=dict(type='CRDLoss', **loss))
    return dict(
        name=f'xs_{name}',
        label=label,
        config=best['config'],
        options={**best['options'], f'model.links.{name}': link},
        against=['xs_started_important_queries'],
    )


def alone_with(row):
    """CRD of a row as the only link of the mini student, behind a random start."""
    (link,) = (value for key, value in row['options'].items() if key.startswith('model.links'))
    return dict(
        name=row['name'].replace('xs', 'alone'),
        label=f'alone, half the width, {row["label"]}',
        config='configs/distill/combinations/queries.py',
        options={'model.links.transfusion_kd': None, 'model.links.crd': link},
        against=['alone'],
    )


few = dict(num_negatives=512)
fixed = dict(
    granularity='object', embed_dims=128, projector=dict(pool='avg'),
    teacher_projector=dict(type='CentredProjector'), loss_weight=0.2,
)  # fmt: skip
by_class = with_crd(
    'crd_fixed', 'and CRD of objects, the teacher fixed',
    memory=dict(queue_length=256, temperature=0.2, **few), **fixed,
)  # fmt: skip
by_instance = with_crd(
    'crd_instance', 'and CRD of objects among all others, the teacher fixed',
    memory=dict(queue_length=256, temperature=0.2, negatives='all', **few), **fixed,
)  # fmt: skip
protocol = dict(
    seeds=[0, 1, 2],
    rows=[
        {**best, 'against': []},
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
            'crd_query', 'and CRD of queries', 'bbox_head[0][0]', granularity='query',
            embed_dims=64, teacher_projector=dict(type='CentredProjector'),
            memory=dict(queue_length=256, **few), loss_weight=0.1,
        ),
        by_class,
        by_instance,
        dict(
            name='alone',
            label='alone, half the width',
            config='configs/bevfusion/bevfusion_lidar_student_mini.py',
        ),
        alone_with(by_class),
        alone_with(by_instance),
    ],
)  # fmt: skip
del with_crd, alone_with, few, fixed, by_class, by_instance, best

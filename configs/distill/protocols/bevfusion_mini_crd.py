# What does CRD add to the best recipe? Each form on top of the same start and links, for the student
# of a quarter of the teacher's width, which these leave something to learn. And to the student of half
# the width alone, which starts from random weights?
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/bevfusion_mini_crd.py
# A search, three seeds, but for the student alone. Runs that bevfusion_mini_xs.py has made already are
# not made again.
_base_ = ['bevfusion_mini_xs.py', '_base_/crd_forms.py']
best = next(row for row in _base_.protocol.rows if row['name'] == 'xs_started_important_queries')
neck = dict(student='pts_neck[0]', teacher='pts_neck[0]')
forms = {
    name: dict(label=form['label'], link=dict(**neck, loss=form['loss']))
    for name, form in _base_.crd_forms.items()
}
forms['crd_query'] = dict(
    label='CRD of queries',
    link=dict(
        student='bbox_head[0][0]',
        teacher='bbox_head[0][0]',
        loss=dict(
            type='CRDLoss',
            granularity='query',
            embed_dims=64,
            teacher_projector=dict(type='CentredProjector'),
            memory=dict(queue_length=256, num_negatives=512),
            loss_weight=0.1,
        ),
    ),
)


def with_crd(name, label, form, **recipe):
    """A recipe with CRD of a form, against the row of its name."""
    recipe['options'] = {**recipe['options'], 'model.links.crd': forms[form]['link']}
    label = f'{label}, and {forms[form]["label"]}'
    return dict(name=f'{name}_{form}', label=label, against=[name], **recipe)


alone = dict(config='configs/distill/combinations/queries.py')  # CRD as the only link of it
alone['options'] = {'model.links.transfusion_kd': None}
five = dict(seeds=[0, 1, 2, 3, 4])
xs = dict(config=best['config'], options=best['options'])
protocol = dict(
    seeds=[0, 1, 2],
    rows=[
        {**best, 'against': []},
        *[with_crd(best['name'], best['label'], form, **xs) for form in forms],
        dict(
            name='alone',
            label='alone, half the width',
            config='configs/bevfusion/bevfusion_lidar_student_mini.py',
            **five,
        ),
        *[
            with_crd('alone', 'alone, half the width', form, **alone, **five)
            for form in ('crd_fixed', 'crd_all')
        ],
    ],
)
del with_crd, forms, neck, alone, five, xs, best

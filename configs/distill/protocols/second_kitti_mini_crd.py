# What does CRD add to a SECOND student that starts from random weights, alone or with links? To one
# that is started, and to the best recipe?
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/second_kitti_mini_crd.py
# Runs that second_kitti_mini.py has made already are not made again.
_base_ = ['second_kitti_mini.py', '_base_/crd_forms.py']
by_name = {row['name']: row for row in _base_.protocol.rows}
forms = _base_.crd_forms
best = by_name['second_important_links']
random = dict(custom_hooks=_base_.distill_hooks)  # no start from the teacher's weights
only = {'model.links.head_kd': None, 'model.links.neck_feature': None}


def with_crd(control, form, **options):
    """A control with CRD: the best recipe, and what makes the control of it."""
    link = dict(student='neck[0]', teacher='neck[0]', loss=forms[form]['loss'])
    return {
        **best,
        'name': f'{control}_{form}',
        'label': f'{by_name[control]["label"]}, and {forms[form]["label"]}',
        'options': {**options, 'model.links.crd': link},
        'against': [control],
    }


protocol = dict(
    rows=[
        by_name['second_teacher'],
        by_name['second_alone'],
        *[with_crd('second_alone', form, **random, **only) for form in forms],
        {**by_name['second_links'], 'against': []},
        with_crd('second_links', 'crd_all', **random),
        {**by_name['second_started_important'], 'against': []},
        *[with_crd('second_started_important', form, **only) for form in ('crd_fixed', 'crd_all')],
        {**best, 'against': []},
        *[with_crd('second_important_links', form) for form in forms],
    ],
)
del with_crd, by_name, forms, best, random, only

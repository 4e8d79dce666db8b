# The same question where all train more than twice as long: the teacher for 20 epochs, students for 10.
# And one of CRD, of the form that gains most in few epochs.
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/second_kitti_mini_long.py
_base_ = ['second_kitti_mini.py', '_base_/crd_forms.py']
rows = {row['name']: row for row in _base_.protocol.rows}
crd_all = _base_.crd_forms['crd_all']
with_crd = {
    **rows['second_links'],
    'name': 'second_alone_crd_all',
    'label': f'alone, and {crd_all["label"]}',
    'options': {
        **rows['second_links']['options'],
        'model.links.head_kd': None,
        'model.links.neck_feature': None,
        'model.links.crd': dict(student='neck[0]', teacher='neck[0]', loss=crd_all['loss']),
    },
}


def longer(row):
    """A row of the short protocol, its teacher and its names of this one."""
    names = ('name', 'as_long_as', 'instead_of', 'teacher')
    renamed = {key: row[key].replace('second', 'second_long') for key in names if key in row}
    renamed['against'] = [name.replace('second', 'second_long') for name in row.get('against', ())]
    if 'epochs' in row:  # the teacher
        renamed['epochs'] = 20
    return {**row, **renamed}


protocol = dict(
    epochs=10, seeds=[0, 1, 2], rows=[longer(row) for row in (*rows.values(), with_crd)]
)
del longer, rows, crd_all, with_crd

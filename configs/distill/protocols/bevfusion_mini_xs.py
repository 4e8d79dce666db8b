# The same question of a student of a quarter of the teacher's width.
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/bevfusion_mini_xs.py
_base_ = ['bevfusion_mini.py']
student = 'configs/bevfusion/bevfusion_lidar_student_xs_mini.py'


def narrower(row):
    """A row of the mini student as one of the XS student."""
    names = {key: f'xs_{row[key]}' for key in ('name', 'as_long_as', 'instead_of') if key in row}
    others = [f'xs_{name}' for name in row.get('against', ())]
    if row['name'].startswith('alone'):
        return {**row, **names, 'config': student, 'against': others}
    return {**row, **names, 'options': {'model.student.config': student}, 'against': others}


protocol = dict(rows=[narrower(row) for row in _base_.protocol.rows])
del narrower, student

# The same question where all train more than twice as long: the teacher for 20 epochs, students for 10.
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/second_kitti_mini_long.py
_base_ = ['second_kitti_mini.py']


def longer(row):
    """A row of the short protocol, its teacher and its names of this one."""
    names = ('name', 'as_long_as', 'instead_of', 'teacher')
    renamed = {key: row[key].replace('second', 'second_long') for key in names if key in row}
    renamed['against'] = [name.replace('second', 'second_long') for name in row.get('against', ())]
    if 'epochs' in row:  # the teacher
        renamed['epochs'] = 20
    return {**row, **renamed}


protocol = dict(epochs=10, seeds=[0, 1, 2], rows=[longer(row) for row in _base_.protocol.rows])
del longer

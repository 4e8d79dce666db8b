# Rows of pointpillars_kitti_mini.py for `make demo-kitti`: the teacher, the student alone, started,
# and by the best recipe.
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/pointpillars_kitti_demo.py
_base_ = ['pointpillars_kitti_mini.py']
against = dict(
    pointpillars_teacher=[],
    pointpillars_alone=[],
    pointpillars_started_important=['pointpillars_alone'],
    pointpillars_important_links=['pointpillars_alone', 'pointpillars_started_important'],
)
protocol = dict(
    rows=[
        {**row, 'against': against[row['name']]}
        for row in _base_.protocol.rows
        if row['name'] in against
    ]
)
del against

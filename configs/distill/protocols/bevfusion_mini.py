# What does distilling the mini BEVFusion student gain, and what of it is the start, what the links?
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/bevfusion_mini.py
# Rows, controls and rules: projects/mmdistill3d/README.md, "Protocol".
data = 'data/lidarsim_large/'
student = 'configs/bevfusion/bevfusion_lidar_student_mini.py'
combinations = 'configs/distill/combinations/'

protocol = dict(
    epochs=3,
    seeds=[0, 1, 2, 3, 4],
    compared=['mAP', 'NDS'],
    options={
        'data_root': data,
        'train_dataloader.dataset.data_root': data,
        'val_dataloader.dataset.data_root': data,
        'test_dataloader.dataset.data_root': data,
        'val_evaluator.data_root': data,
        'val_evaluator.ann_file': data + 'nuscenes_infos_val.pkl',
        'test_evaluator.data_root': data,
        'test_evaluator.ann_file': data + 'nuscenes_infos_val.pkl',
    },
    rows=[
        dict(name='alone', label='alone', config=student),
        dict(
            name='alone_longer',
            label="alone, for the distilled run's time",
            config=student,
            as_long_as='started_important_queries',
            instead_of='alone',
            against=['alone'],
        ),
        dict(
            name='started',
            label="started from the teacher's first channels",
            config=combinations + 'init_first.py',
            against=['alone'],
        ),
        dict(
            name='started_important',
            label='started from its most important channels',
            config=combinations + 'init.py',
            against=['alone', 'started'],
        ),
        dict(
            name='links',
            label='links, random start',
            config=combinations + 'queries.py',
            against=['alone'],
        ),
        dict(
            name='started_important_queries',
            label='started from the most important channels, links',
            config='configs/distill/bevfusion_best_mini.py',
            against=['alone', 'alone_longer', 'started', 'started_important'],
        ),
    ],
)
del data, student, combinations

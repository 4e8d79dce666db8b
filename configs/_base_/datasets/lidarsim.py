# The embedded data set: a nuScenes database of simulated scenes, 25.6 m around the car, two
# past sweeps. Written by tools/create_lidarsim.py; read by the classes that read nuScenes.
_base_ = ['nuscenes_lidar.py']
data_root = 'data/lidarsim/'
point_cloud_range = [-25.6, -25.6, -5.0, 25.6, 25.6, 3.0]


def fit(pipeline, point_cloud_range):
    """A nuScenes pipeline for the small world: its range, its sweeps, no object database.

    And gentle augmentation: the published one (turns of 45 degrees, mirrored along both axes)
    makes a world of left-hand traffic in any direction out of these streets, in which a training
    of a few thousand steps learns no headings, and of velocities only that most are zero.
    """
    steps = []
    for step in pipeline:
        step = dict(step)
        if step['type'] == 'GlobalRotScaleTrans':
            step.update(rot_range=[-0.2, 0.2], scale_ratio_range=[0.95, 1.05], translation_std=0.2)
        if step['type'] == 'LoadPointsFromMultiSweeps':
            step['sweeps_num'] = 2
            step.pop('test_mode', None)  # it has no more: nothing is drawn
        if 'point_cloud_range' in step:
            step['point_cloud_range'] = point_cloud_range
        if step['type'] not in ('ObjectSample', 'BEVFusionRandomFlip3D'):
            steps.append(step)
    return steps


train_pipeline = fit(_base_.train_pipeline, point_cloud_range)
test_pipeline = fit(_base_.test_pipeline, point_cloud_range)
del fit

# Classes are balanced by construction: no CBGSDataset around the data set.
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        **{**_base_.train_dataloader.dataset.dataset, 'data_root': data_root},
    ),
)
train_dataloader['dataset']['pipeline'] = train_pipeline
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(data_root=data_root, ann_file=data_root + 'nuscenes_infos_val.pkl')
test_evaluator = val_evaluator

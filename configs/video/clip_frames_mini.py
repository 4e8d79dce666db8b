# What the small CLIP learns first: the action of a single frame, on trimmed clips in Kinetics'
# layout whose figures are not those of the teacher's and the students' data set.
_base_ = './clip_teacher_mini.py'
data_root = 'data/videosim_kinetics/'
max_epochs = 16
model = dict(
    backbone=dict(frozen=False),
    neck=dict(_delete_=True, type='TemporalPool', mode='mean'),
)
load_from = None
open_video = dict(type='OpenVideo', cache=True, short_side={{_base_.size}})
dataset = dict(
    _delete_=True,
    type='KineticsDataset',
    data_root=data_root,
    classes={{_base_.classes}},
)
train_dataloader = dict(
    batch_size=96,
    dataset=dict(
        dataset,
        ann_file='train.csv',
        data_prefix=dict(video='videos/train'),
        pipeline=[
            open_video,
            dict(type='SampleFrames', num_frames=1, random=True),
            *_base_.train_pipeline[2:],
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        dataset,
        ann_file='val.csv',
        data_prefix=dict(video='videos/val'),
        test_mode=True,
        pipeline=[
            open_video,
            dict(type='SampleFrames', num_frames=1),
            *_base_.test_pipeline[2:],
        ],
    ),
)
test_dataloader = dict(
    dataset=dict(
        val_dataloader['dataset'], ann_file='test.csv', data_prefix=dict(video='videos/test')
    ),
)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs, T_max=max_epochs - 1),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=4)

# The embedded data set in UCF101's layout: 12 actions, 32 frames of 64 x 64 pixels a clip.
custom_imports = dict(imports=['mmdistill', 'mmdistill_hf', 'videocls'], allow_failed_imports=False)
default_scope = 'mmengine'
data_root = 'data/videosim/'
classes = [
    'walk',
    'run',
    'jump',
    'wave',
    'clap',
    'box',
    'bow',
    'kick',
    'jumping_jack',
    'squat',
    'sit_down',
    'stand_up',
]
num_classes, num_frames, size = len(classes), 8, 40
dataset_type = 'UCF101Dataset'
open_video = dict(type='OpenVideo', cache=True, short_side=size)  # 0.3 GB for all clips
train_pipeline = [
    open_video,
    dict(type='SampleFrames', num_frames=num_frames, random=True),
    dict(type='DecodeVideo'),
    dict(type='RandomResizedCropClip', size=size, area=(0.75, 1.0), ratio=(0.9, 1.1)),
    dict(type='FlipClip'),
    dict(type='ColorJitterClip'),
    dict(type='PackClip'),
]
test_pipeline = [
    open_video,
    dict(type='SampleFrames', num_frames=num_frames),
    dict(type='DecodeVideo'),
    dict(type='PackClip'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ucfTrainTestlist/trainlist01.txt',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ucfTrainTestlist/vallist01.txt',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(val_dataloader['dataset'], ann_file='ucfTrainTestlist/testlist01.txt'),
)
val_evaluator = dict(
    type='ClassificationMetric',
    topk=(1, 5),
    groups=dict(order=['sit_down', 'stand_up']),
    classes=classes,
)
test_evaluator = dict(val_evaluator, confusion=True)

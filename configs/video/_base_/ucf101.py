# UCF101 as it is distributed, by its first split: 8 frames of 224 x 224 pixels a clip.
custom_imports = dict(imports=['mmdistill', 'mmdistill_hf', 'videocls'], allow_failed_imports=False)
default_scope = 'mmengine'
data_root = 'data/ucf101/'
num_classes, num_frames, size = 101, 8, 224
dataset_type = 'UCF101Dataset'
train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', num_frames=num_frames, random=True),
    dict(type='DecodeVideo'),
    dict(type='RandomResizedCropClip', size=size),
    dict(type='FlipClip'),
    dict(type='ColorJitterClip'),
    dict(type='PackClip'),
]
test_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', num_frames=num_frames),
    dict(type='DecodeVideo'),
    dict(type='ResizeClip', short_side=256),
    dict(type='CenterCropClip', size=size),
    dict(type='PackClip'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
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
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ucfTrainTestlist/testlist01.txt',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ClassificationMetric', topk=(1, 5))
test_evaluator = dict(val_evaluator, confusion=True)

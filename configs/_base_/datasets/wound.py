# Wound-1-0: a photo, its description, and two labels. The classes are those of the embedded set
# (data/medsim/Wound-1-0/); for another, the data set's error has the list to paste here.
dataset_type, data_root, image_size = 'WoundDataset', 'data/Wound-1-0/', 224
classes = dict(
    wound_type=[
        'abrasion',
        'laceration',
        'pressure ulcer',
        'puncture',
        'surgical wound',
        'venous ulcer',
    ],
    severity=['mild', 'moderate', 'severe'],
)
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='FitSquare', size=image_size),
    dict(type='RandomShift', angle=180.0),
    dict(type='PackImageText'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='FitSquare', size=image_size),
    dict(type='PackImageText'),
]
dataset = dict(
    type=dataset_type,
    data_root=data_root,
    classes=classes,
    labels=dict(wound_type='type', severity='severity'),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(dataset, ann_file='metadata_train.csv', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset,
        ann_file='metadata_dev.csv',
        apart_from=['metadata_train.csv'],
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset,
        ann_file='metadata_test.csv',
        apart_from=['metadata_train.csv', 'metadata_dev.csv'],
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(
    type='MultiTaskMetric', tasks={task: dict(classes=names) for task, names in classes.items()}
)
test_evaluator = dict(
    type='MultiTaskMetric',
    tasks={task: dict(classes=names, confusion=True) for task, names in classes.items()},
)

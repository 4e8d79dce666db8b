# MedPix-2.0 in its own layout: image, caption, and the two labels of the public task.
dataset_type, data_root, image_size = 'MedPixDataset', 'data/MedPix-2-0/', 224
classes = dict(
    modality=['CT', 'MR'],
    location=[
        'Abdomen',
        'Head',
        'Reproductive and Urinary System',
        'Spine and Muscles',
        'Thorax',
    ],
)
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='FitSquare', size=image_size),
    dict(type='RandomShift'),
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
    allow=['empty_text'],  # 21 of its captions are placeholders
)
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(dataset, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset, split='dev', apart_from=['train'], test_mode=True, pipeline=test_pipeline
    ),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset, split='test', apart_from=['train', 'dev'], test_mode=True, pipeline=test_pipeline
    ),
)
val_evaluator = dict(
    type='MultiTaskMetric', tasks={task: dict(classes=names) for task, names in classes.items()}
)
test_evaluator = dict(
    type='MultiTaskMetric',
    tasks={task: dict(classes=names, confusion=True) for task, names in classes.items()},
)

# Training of classifiers of images with text: one number of epochs, AdamW, the best on dev tested.
default_scope = 'mmengine'
max_epochs = 10
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=3e-4, weight_decay=0.01), clip_grad=dict(max_norm=1.0)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    fit_checkpoint=dict(type='FitCheckpointHook'),  # weights that do not fit are refused
    checkpoint=dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='mean_f1', rule='greater'
    ),
)
custom_hooks = [dict(type='FinalTestHook'), dict(type='MetricsFileHook')]
randomness = dict(seed=0)  # a resumed run needs it to go on as it was

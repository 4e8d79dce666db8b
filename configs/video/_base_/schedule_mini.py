# The epoch that is best on the validation clips is tested at the end.
max_epochs = 10
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=2)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    fit_checkpoint=dict(type='FitCheckpointHook'),  # weights that do not fit are refused
    checkpoint=dict(
        type='CheckpointHook', interval=2, max_keep_ckpts=1, save_best='top1', rule='greater'
    ),
)
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(type='FinalTestHook'),
    dict(type='MetricsFileHook'),
]

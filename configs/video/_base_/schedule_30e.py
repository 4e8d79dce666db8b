# AdamW, half a cosine, gradients clipped at 1. UCF101 has no validation split: the last epoch
# counts, and the test clips choose nothing.
max_epochs = 30
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.01), clip_grad=dict(max_norm=1.0)
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=5)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    fit_checkpoint=dict(type='FitCheckpointHook'),  # weights that do not fit are refused
)
custom_hooks = [dict(type='RandomStateHook'), dict(type='MetricsFileHook')]

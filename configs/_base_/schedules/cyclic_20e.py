# AdamW over 20 epochs: the rate rises tenfold in 8 epochs and falls in 12; momentum mirrors it.
# Peak and end are ratios, so that a rate scaled by --auto-scale-lr is scaled all the way.
lr = 0.0001
num_epochs, rise_epochs = 20, 8
fall_epochs = num_epochs - rise_epochs

rise = dict(T_max=rise_epochs, begin=0, end=rise_epochs, by_epoch=True, convert_to_iter_based=True)
fall = dict(
    T_max=fall_epochs,
    begin=rise_epochs,
    end=num_epochs,
    by_epoch=True,
    convert_to_iter_based=True,
)
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min_ratio=10, **rise),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-4, **fall),
    dict(type='CosineAnnealingMomentum', eta_min=0.85 / 0.95, **rise),
    dict(type='CosineAnnealingMomentum', eta_min=1, **fall),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.01),
    clip_grad=dict(max_norm=35, norm_type=2),
)

train_cfg = dict(by_epoch=True, max_epochs=num_epochs, val_interval=5)
val_cfg = dict()
test_cfg = dict()
# 8 GPUs of 4 samples; used with --auto-scale-lr.
auto_scale_lr = dict(enable=False, base_batch_size=32)

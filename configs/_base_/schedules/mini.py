# A few epochs of the embedded data set: one cycle of AdamW, a checkpoint each epoch.
_base_ = ['cyclic_20e.py']
lr = 0.002
num_epochs = 5

param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=lr,
        total_steps=num_epochs,
        pct_start=0.3,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_epochs=num_epochs, val_interval=num_epochs)
auto_scale_lr = dict(base_batch_size=2)

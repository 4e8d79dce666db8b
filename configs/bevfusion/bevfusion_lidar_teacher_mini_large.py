# The finished teacher of the embedded data set: the mini teacher, trained on the large one,
#   python tools/create_lidarsim.py --out data/lidarsim_large
# Its weights lie beside this file: bevfusion_lidar_teacher_mini.pth, with a note of their origin.
_base_ = ['bevfusion_lidar_teacher_mini.py']
data_root = 'data/lidarsim_large/'
lr = 0.002
num_epochs = 2

train_dataloader = dict(dataset=dict(data_root=data_root, indices=1000))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(data_root=data_root, ann_file=data_root + 'nuscenes_infos_val.pkl')
test_evaluator = val_evaluator

param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=lr,
        total_steps=num_epochs,
        pct_start=0.2,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=num_epochs, val_interval=num_epochs)

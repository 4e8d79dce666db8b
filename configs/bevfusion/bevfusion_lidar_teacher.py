# BEVFusion-LiDAR as published: 8.31 M parameters, 8 GPUs of 4 samples, nuScenes.
_base_ = [
    '../_base_/models/bevfusion_lidar.py',
    '../_base_/datasets/nuscenes_lidar.py',
    '../_base_/schedules/cyclic_20e.py',
    '../_base_/default_runtime.py',
]

# The last five epochs see no pasted objects.
custom_hooks = [dict(type='FadeObjectSampleHook', after_epoch=15)]

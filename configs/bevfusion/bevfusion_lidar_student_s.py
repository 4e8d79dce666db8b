# Student S: backbone and neck at half the width, 4.65 M parameters (56 % of the teacher's).
_base_ = ['bevfusion_lidar_teacher.py']

model = dict(
    pts_backbone=dict(out_channels=[64, 128]),
    pts_neck=dict(in_channels=[64, 128], out_channels=[128, 128]),
    bbox_head=dict(in_channels=256),
)

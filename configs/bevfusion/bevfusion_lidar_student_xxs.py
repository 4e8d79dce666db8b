# Student XXS: the encoder at half the width, backbone and neck at a quarter, 1.57 M (19 %).
_base_ = ['bevfusion_lidar_teacher.py']

model = dict(
    pts_middle_encoder=dict(
        base_channels=8,
        encoder_channels=((8, 8, 16), (16, 16, 32), (32, 32, 64), (64, 64)),
        output_channels=64,
    ),
    pts_backbone=dict(in_channels=128, out_channels=[32, 64]),
    pts_neck=dict(in_channels=[32, 64], out_channels=[64, 64]),
    bbox_head=dict(in_channels=128),
)

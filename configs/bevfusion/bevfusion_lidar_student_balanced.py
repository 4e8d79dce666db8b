# Student balanced: encoder, backbone and neck narrower alike, 4.16 M parameters (50 %).
_base_ = ['bevfusion_lidar_teacher.py']

model = dict(
    pts_middle_encoder=dict(
        base_channels=16,
        encoder_channels=((16, 16, 24), (24, 24, 48), (48, 48, 96), (96, 96)),
        output_channels=96,
    ),
    pts_backbone=dict(in_channels=192, out_channels=[80, 160]),
    pts_neck=dict(in_channels=[80, 160], out_channels=[160, 160]),
    bbox_head=dict(in_channels=320),
)

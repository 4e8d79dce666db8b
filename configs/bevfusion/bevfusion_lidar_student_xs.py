# Student XS: the encoder at 3/4 of the width, backbone and neck at half, 3.44 M parameters (41 %).
_base_ = ['bevfusion_lidar_student_s.py']

model = dict(
    pts_middle_encoder=dict(
        base_channels=12,
        encoder_channels=((12, 12, 24), (24, 24, 48), (48, 48, 96), (96, 96)),
        output_channels=96,
    ),
    pts_backbone=dict(in_channels=192),
)

# The same SECOND at twice the width: a teacher for it.
_base_ = ['second_kitti_mini.py']

model = dict(
    middle_encoder=dict(
        base_channels=16, output_channels=64, encoder_channels=((16,), (32, 32), (64, 64))
    ),
    backbone=dict(in_channels=128, out_channels=[64, 128]),
    neck=dict(in_channels=[64, 128], out_channels=[64, 64]),
    bbox_head=dict(in_channels=128, feat_channels=128),
)

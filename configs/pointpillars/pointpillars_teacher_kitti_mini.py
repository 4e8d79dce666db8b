# The same PointPillars at twice the width, its second stage deeper: a teacher for it.
_base_ = ['pointpillars_kitti_mini.py']

model = dict(
    voxel_encoder=dict(feat_channels=[64]),
    middle_encoder=dict(in_channels=64),
    backbone=dict(in_channels=64, out_channels=[64, 128], layer_nums=[3, 5]),
    neck=dict(in_channels=[64, 128], out_channels=[64, 64]),
    bbox_head=dict(in_channels=128, feat_channels=128),
)

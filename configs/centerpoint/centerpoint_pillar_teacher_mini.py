# The same CenterPoint at twice the width, its second stage deeper: a teacher for it.
_base_ = ['centerpoint_pillar_mini.py']

model = dict(
    pts_voxel_encoder=dict(feat_channels=[64]),
    pts_middle_encoder=dict(in_channels=64),
    pts_backbone=dict(in_channels=64, out_channels=[64, 128], layer_nums=[3, 5]),
    pts_neck=dict(in_channels=[64, 128], out_channels=[64, 64]),
    pts_bbox_head=dict(in_channels=128, share_conv_channel=64, separate_head=dict(head_conv=16)),
)

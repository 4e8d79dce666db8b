# PointPillars on the embedded data set in KITTI's form, for one CPU core.
_base_ = ['../_base_/kitti_mini.py']

voxel_size = [0.2, 0.2, 4]
model = dict(
    data_preprocessor=dict(voxel_layer=dict(voxel_size=voxel_size, max_num_points=20)),
    voxel_encoder=dict(
        type='PillarFeatureNet',
        in_channels=4,
        feat_channels=[32],
        with_distance=False,
        voxel_size=voxel_size,
        point_cloud_range=_base_.point_cloud_range,
        norm_cfg=dict(type='BN1d', **_base_.bn),
    ),
    middle_encoder=dict(type='PointPillarsScatter', in_channels=32, output_shape=[192, 160]),
    backbone=dict(layer_strides=[2, 2]),
)

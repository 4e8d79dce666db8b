# SECOND on the embedded data set in KITTI's form, for one CPU core.
_base_ = ['../_base_/kitti_mini.py']

model = dict(
    data_preprocessor=dict(voxel_layer=dict(voxel_size=[0.1, 0.1, 0.2], max_num_points=5)),
    voxel_encoder=dict(type='HardSimpleVFE'),
    middle_encoder=dict(
        type='PortableSparseEncoder',
        in_channels=4,
        sparse_shape=[21, 384, 320],
        base_channels=8,
        output_channels=32,
        encoder_channels=((8,), (16, 16), (32, 32)),
        encoder_paddings=((1,), (1, 1), (1, 1)),
        norm_cfg=dict(type='BN1d', **_base_.bn),
    ),
    backbone=dict(in_channels=64, layer_strides=[1, 2]),
)

# CenterPoint with pillars on the embedded data set, for one CPU core: BEV cells of 0.8 m.
_base_ = [
    '../_base_/datasets/lidarsim.py',
    '../_base_/schedules/mini.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['bevfusion', 'mmdistill'], allow_failed_imports=False)

point_cloud_range = _base_.point_cloud_range
voxel_size = [0.4, 0.4, 8]
out_size_factor = 2
post_center_range = [-30.0, -30.0, -10.0, 30.0, 30.0, 10.0]
bn = dict(eps=1e-3, momentum=0.01)

model = dict(
    type='CenterPoint',
    data_preprocessor=dict(
        type='Det3DDataPreprocessor',
        voxel=True,
        voxel_layer=dict(
            point_cloud_range=point_cloud_range,
            voxel_size=voxel_size,
            max_num_points=20,
            max_voxels=(8000, 12000),
        ),
    ),
    pts_voxel_encoder=dict(
        type='PillarFeatureNet',
        in_channels=5,
        feat_channels=[32],
        with_distance=False,
        voxel_size=voxel_size,
        point_cloud_range=point_cloud_range,
        norm_cfg=dict(type='BN1d', **bn),
        legacy=False,
    ),
    pts_middle_encoder=dict(type='PointPillarsScatter', in_channels=32, output_shape=(128, 128)),
    pts_backbone=dict(
        type='SECOND',
        in_channels=32,
        out_channels=[32, 64],
        layer_nums=[3, 3],
        layer_strides=[2, 2],
        norm_cfg=dict(type='BN', **bn),
        conv_cfg=dict(type='Conv2d', bias=False),
    ),
    pts_neck=dict(
        type='SECONDFPN',
        in_channels=[32, 64],
        out_channels=[32, 32],
        upsample_strides=[1, 2],
        norm_cfg=dict(type='BN', **bn),
        upsample_cfg=dict(type='deconv', bias=False),
        use_conv_for_no_stride=True,
    ),
    pts_bbox_head=dict(
        type='CenterHead',
        in_channels=64,
        tasks=[
            dict(num_class=1, class_names=['car']),
            dict(num_class=2, class_names=['truck', 'construction_vehicle']),
            dict(num_class=2, class_names=['bus', 'trailer']),
            dict(num_class=1, class_names=['barrier']),
            dict(num_class=2, class_names=['motorcycle', 'bicycle']),
            dict(num_class=2, class_names=['pedestrian', 'traffic_cone']),
        ],
        common_heads=dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2), vel=(2, 2)),
        share_conv_channel=32,
        bbox_coder=dict(
            type='CenterPointBBoxCoder',
            pc_range=point_cloud_range[:2],
            post_center_range=post_center_range,
            max_num=200,
            score_threshold=0.05,
            out_size_factor=out_size_factor,
            voxel_size=voxel_size[:2],
            code_size=9,
        ),
        separate_head=dict(type='SeparateHead', head_conv=8, init_bias=-2.19, final_kernel=3),
        loss_cls=dict(type='mmdet.GaussianFocalLoss', reduction='mean'),
        loss_bbox=dict(type='mmdet.L1Loss', reduction='mean', loss_weight=0.25),
        norm_bbox=True,
    ),
    train_cfg=dict(
        pts=dict(
            point_cloud_range=point_cloud_range,
            grid_size=[128, 128, 1],
            voxel_size=voxel_size,
            out_size_factor=out_size_factor,
            dense_reg=1,
            gaussian_overlap=0.1,
            max_objs=200,
            min_radius=2,
            code_weights=[1.0] * 8 + [0.2] * 2,
        )
    ),
    test_cfg=dict(
        pts=dict(
            pc_range=point_cloud_range[:2],
            post_center_limit_range=post_center_range,
            max_per_img=200,
            max_pool_nms=False,
            min_radius=[4, 12, 10, 1, 0.85, 0.175],
            score_threshold=0.05,
            out_size_factor=out_size_factor,
            voxel_size=voxel_size[:2],
            nms_type='circle',
            pre_max_size=1000,
            post_max_size=83,
            nms_thr=0.2,
        )
    ),
)

default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2))
log_processor = dict(window_size=25)
custom_hooks = [dict(type='RandomStateHook')]  # a resumed run goes on as it was

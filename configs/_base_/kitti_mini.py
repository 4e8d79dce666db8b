# What PointPillars and SECOND have in common on lidarsim-KITTI: all behind the maps, whose cells are
# 0.4 m, in [y, x]; a student's widths.
_base_ = [
    'datasets/lidarsim_kitti.py',
    'schedules/mini.py',
    'default_runtime.py',
]
custom_imports = dict(imports=['bevfusion', 'mmdistill'], allow_failed_imports=False)

x_low, y_low, _, x_high, y_high, _ = _base_.point_cloud_range
ground_m = -1.7  # anchors stand on it
bn = dict(eps=1e-3, momentum=0.05)  # 0.01 as published lags behind a training of some hundred steps


def assigner(positive, negative):
    return dict(
        type='Max3DIoUAssigner',
        iou_calculator=dict(type='BboxOverlapsNearest3D'),
        pos_iou_thr=positive,
        neg_iou_thr=negative,
        min_pos_iou=negative,
        ignore_iof_thr=-1,
    )


model = dict(
    type='VoxelNet',
    data_preprocessor=dict(
        type='Det3DDataPreprocessor',
        voxel=True,
        voxel_layer=dict(point_cloud_range=_base_.point_cloud_range, max_voxels=(12000, 12000)),
    ),
    backbone=dict(
        type='SECOND',
        in_channels=32,
        out_channels=[32, 64],
        layer_nums=[3, 3],
        norm_cfg=dict(type='BN', **bn),
    ),
    neck=dict(
        type='SECONDFPN',
        in_channels=[32, 64],
        out_channels=[32, 32],
        upsample_strides=[1, 2],
        norm_cfg=dict(type='BN', **bn),
    ),
    bbox_head=dict(
        type='Anchor3DHead',
        num_classes=3,
        in_channels=64,
        feat_channels=64,
        use_direction_classifier=True,
        assign_per_class=True,
        anchor_generator=dict(
            type='AlignedAnchor3DRangeGenerator',
            ranges=[[x_low, y_low, ground_m, x_high, y_high, ground_m]] * 3,
            sizes=[
                [0.7, 0.7, 1.7],  # Pedestrian
                [1.8, 0.6, 1.75],  # Cyclist
                [4.6, 1.9, 1.6],  # Car
            ],
            rotations=[0, 1.57],
            reshape_out=False,
        ),
        diff_rad_by_sin=True,
        bbox_coder=dict(type='DeltaXYZWLHRBBoxCoder'),
        loss_cls=dict(
            type='mmdet.FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
        ),
        loss_bbox=dict(type='mmdet.SmoothL1Loss', beta=1.0 / 9.0, loss_weight=2.0),
        loss_dir=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=False, loss_weight=0.2),
    ),
    train_cfg=dict(
        assigner=[assigner(0.35, 0.2), assigner(0.35, 0.2), assigner(0.6, 0.45)],
        allowed_border=0,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        use_rotate_nms=True,
        nms_across_levels=False,
        nms_thr=0.01,
        score_thr=0.05,
        min_bbox_size=0,
        nms_pre=100,
        max_num=50,
    ),
)
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2))
log_processor = dict(window_size=25)
custom_hooks = [dict(type='RandomStateHook')]  # a resumed run goes on as it was
del x_low, y_low, x_high, y_high, _, ground_m, assigner

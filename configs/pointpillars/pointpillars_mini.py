# PointPillars with its anchor head on the embedded data set: CenterPoint's layers up to the neck,
# maps of 0.8 m cells in [y, x].
_base_ = ['../centerpoint/centerpoint_pillar_mini.py']

x_low, y_low, _, x_high, y_high, _ = _base_.point_cloud_range
ground_m = -1.8  # anchors stand on it
model = dict(
    type='MVXFasterRCNN',
    pts_bbox_head=dict(
        _delete_=True,
        type='Anchor3DHead',
        num_classes=10,
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(
            type='AlignedAnchor3DRangeGenerator',
            ranges=[[x_low, y_low, ground_m, x_high, y_high, ground_m]],
            scales=[1],
            sizes=[
                [4.6, 1.9, 1.7],  # car
                [6.7, 2.5, 2.7],  # truck, construction vehicle
                [11.0, 2.9, 3.6],  # bus, trailer
                [1.9, 0.7, 1.4],  # motorcycle, bicycle
                [0.8, 0.8, 1.6],  # pedestrian, traffic cone: no smaller than a cell
                [0.8, 2.5, 1.0],  # barrier
            ],
            rotations=[0, 1.57],
            custom_values=[0, 0],  # velocity
            reshape_out=True,
        ),
        diff_rad_by_sin=True,
        dir_offset=-0.7854,  # -pi / 4: bins end between the anchors' yaws
        bbox_coder=dict(type='DeltaXYZWLHRBBoxCoder', code_size=9),
        loss_cls=dict(
            type='mmdet.FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
        ),
        loss_bbox=dict(type='mmdet.SmoothL1Loss', beta=1.0 / 9.0, loss_weight=1.0),
        loss_dir=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=False, loss_weight=0.2),
    ),
    train_cfg=dict(
        pts=dict(
            _delete_=True,
            assigner=dict(
                type='Max3DIoUAssigner',
                iou_calculator=dict(type='BboxOverlapsNearest3D'),
                pos_iou_thr=0.6,
                neg_iou_thr=0.3,
                min_pos_iou=0.1,  # small objects lie between the cells' anchors
                ignore_iof_thr=-1,
            ),
            allowed_border=0,
            code_weight=[1.0] * 7 + [0.2] * 2,
            pos_weight=-1,
            debug=False,
        )
    ),
    test_cfg=dict(
        pts=dict(
            _delete_=True,
            use_rotate_nms=True,
            nms_across_levels=False,
            nms_pre=1000,
            nms_thr=0.2,
            score_thr=0.05,
            min_bbox_size=0,
            max_num=200,
        )
    ),
)
del x_low, y_low, x_high, y_high, _, ground_m

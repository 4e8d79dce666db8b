# The embedded data set in KITTI's form: what one camera and a 64-beam LiDAR see ahead of the car,
# up to 32 m. Written by `tools/create_lidarsim.py --out data/lidarsim_kitti`.
data_root = 'data/lidarsim_kitti/'
class_names = ['Pedestrian', 'Cyclist', 'Car']
point_cloud_range = [0, -19.2, -3, 32, 19.2, 1]

load_points = dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=4, use_dim=4)
in_range = dict(type='PointsRangeFilter', point_cloud_range=point_cloud_range)
train_pipeline = [
    load_points,
    dict(type='LoadAnnotations3D', with_bbox_3d=True, with_label_3d=True),
    dict(type='RandomFlip3D', flip_ratio_bev_horizontal=0.5),
    dict(type='GlobalRotScaleTrans', rot_range=[-0.2, 0.2], scale_ratio_range=[0.95, 1.05]),
    in_range,
    dict(type='ObjectRangeFilter', point_cloud_range=point_cloud_range),
    dict(type='PointShuffle'),
    dict(type='Pack3DDetInputs', keys=['points', 'gt_bboxes_3d', 'gt_labels_3d']),
]
test_pipeline = [load_points, in_range, dict(type='Pack3DDetInputs', keys=['points'])]

dataset = dict(
    type='KittiDataset',
    data_root=data_root,
    data_prefix=dict(pts='training/velodyne_reduced'),
    modality=dict(use_lidar=True, use_camera=False),
    metainfo=dict(classes=class_names),
    box_type_3d='LiDAR',
)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(ann_file='kitti_infos_train.pkl', pipeline=train_pipeline, **dataset),
    **loader,
)
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(ann_file='kitti_infos_val.pkl', pipeline=test_pipeline, test_mode=True, **dataset),
    **loader,
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='KittiMetric',
    ann_file=data_root + 'kitti_infos_val.pkl',
    metric='bbox',
    pcd_limit_range=point_cloud_range,
)
test_evaluator = val_evaluator
del load_points, in_range, dataset, loader

# The recipe for full-scale students: what the heads answer, the neck's features where objects
# are, and a start from the teacher's weights. Channels, range and map sizes are S's here;
# fit_links sets them for other students.
point_cloud_range = [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0]
links = dict(  # becomes model.links
    heatmap_kd=dict(
        student='bbox_head.heatmap_head',
        teacher='bbox_head.heatmap_head',
        loss=dict(type='HeatmapKDLoss', point_cloud_range=point_cloud_range, loss_weight=5.0),
    ),
    transfusion_kd=dict(
        student='bbox_head[0][0]',
        teacher='bbox_head[0][0]',
        loss=dict(type='TransFusionKDLoss', loss_weight=0.25),
    ),
    neck_feature=dict(
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        student_connector=dict(type='ConvConnector', in_channels=256, out_channels=512),
        mask=dict(
            type='BoxMask',
            point_cloud_range=point_cloud_range,
            shape='gaussian',
            background=0.00025,  # of each of 180 x 180 cells: together they count as 8 boxes
        ),
        loss=dict(type='FitNetLoss', loss_weight=0.25),
    ),
)
targets = None  # becomes model.targets: a TeacherLabels config, or None
distill_hooks = [
    dict(type='DistillHook'),  # memory sizes, schedules, the teacher's fingerprint
    dict(type='Det3DInitHook'),  # the student starts from the teacher's weights
    dict(type='StudentCheckpointHook'),  # epoch_N_student.pth beside epoch_N.pth
    dict(type='RandomStateHook'),  # random streams, for resuming
]
del point_cloud_range  # the data set's stands beside it

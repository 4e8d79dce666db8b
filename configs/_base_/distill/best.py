# The best recipe for BEVFusion detectors of any width and voxel size: what the heads answer, and the
# neck's features where objects are.
links = dict(  # becomes model.links
    heatmap_kd=dict(
        student='bbox_head.heatmap_head',
        teacher='bbox_head.heatmap_head',
        loss=dict(type='HeatmapKDLoss', loss_weight=5.0),
    ),
    transfusion_kd=dict(
        student='bbox_head[0][0]',
        teacher='bbox_head[0][0]',
        loss=dict(type='TransFusionKDLoss', loss_weight=0.25),
    ),
    neck_feature=dict(
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        student_connector=dict(type='ConvConnector'),
        mask=dict(
            type='BoxMask',
            shape='gaussian',
            background=0.00025,  # of each of 180 x 180 cells: together they count as 8 boxes
        ),
        loss=dict(type='FitNetLoss', loss_weight=0.25),
    ),
)

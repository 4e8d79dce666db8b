# The best recipe for detectors with a CenterHead of any width: class maps and boxes where objects
# are, and the neck's features there.
links = dict(  # becomes model.links
    head_kd=dict(
        # A copy: CenterHead's own loss overwrites its logits by probabilities.
        student=dict(layer='pts_bbox_head', clone=True),
        teacher='pts_bbox_head',
        loss=dict(type='CenterHeadKDLoss', heatmap_weight=5.0, box_weight=0.25),
    ),
    neck_feature=dict(
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        student_connector=dict(type='ConvConnector'),
        mask=dict(
            type='BoxMask',
            shape='gaussian',
            background=0.0005,  # of each of 128 x 128 cells: together they count as 8 boxes
        ),
        loss=dict(type='FitNetLoss', loss_weight=0.25),
    ),
)

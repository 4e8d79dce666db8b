# The best recipe for detectors with an anchor head (PointPillars, SECOND) of any width: what the
# heads answer, and the neck's features where objects are.
links = dict(  # becomes model.links
    head_kd=dict(
        student='bbox_head',
        teacher='bbox_head',
        loss=dict(type='AnchorHeadKDLoss', box_weight=0.5, loss_weight=1.0),
    ),
    neck_feature=dict(
        student='neck[0]',
        teacher='neck[0]',
        student_connector=dict(type='ConvConnector'),
        mask=dict(
            type='BoxMask',
            shape='gaussian',
            background=0.0002,  # of each of 248 x 216 cells: together they count as 10 boxes
        ),
        loss=dict(type='FitNetLoss', loss_weight=0.25),
    ),
)

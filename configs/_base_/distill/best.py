# The best recipe for BEVFusion detectors of any width and voxel size, beside a start from the
# teacher's weights: its object queries, of those about nothing, too. Heatmaps beside these gain
# nothing (projects/mmdistill/losses/README.md); the neck's features were not measured beside them.
links = dict(  # becomes model.links
    transfusion_kd=dict(
        student='bbox_head[0][0]',
        teacher='bbox_head[0][0]',
        loss=dict(type='TransFusionKDLoss', background=0.2, loss_weight=0.25),
    ),
)

# Features of the sparse encoder's voxels, joined by their coordinates: before any dense map.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    links={
        f'encoder{number}_sparse': dict(
            student=f'pts_middle_encoder.encoder_layers.encoder_layer{number}',
            teacher=f'pts_middle_encoder.encoder_layers.encoder_layer{number}',
            student_connector=dict(type='SparseLinearConnector'),
            loss=dict(type='SparseFeatureLoss', loss_weight=1.0),
        )
        for number in (1, 2)
    }
)

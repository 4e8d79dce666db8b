# Features of the sparse encoder's voxels, joined by their coordinates: before any dense map.
_base_ = ['../../_base_/distill/mini_pair.py']
stages = 'pts_middle_encoder.encoder_layers.encoder_layer'
model = dict(
    links={
        f'encoder{number}_sparse': dict(
            student=f'{stages}{number}',
            teacher=f'{stages}{number}',
            student_connector=dict(
                type='SparseLinearConnector',
                in_channels=student_channels,
                out_channels=teacher_channels,
            ),
            loss=dict(type='SparseFeatureLoss', loss_weight=1.0),
        )
        for number, student_channels, teacher_channels in ((1, 16, 32), (2, 32, 64))
    }
)
del stages

# The same on the embedded data set, for one CPU core: only sizes and paths differ.
_base_ = [
    '../bevfusion/bevfusion_lidar_student_mini.py',
    '../_base_/distill/bevfusion_crd.py',
]
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

links = _base_.links
for name, student_channels, teacher_channels in (
    ('encoder_crd', 64, 128),
    ('backbone_crd', 64, 128),
    ('neck_crd', 64, 128),
):
    links[name]['loss'].update(
        student_channels=student_channels,
        teacher_channels=teacher_channels,
        memory=dict(num_negatives=512),
    )
del name, student_channels, teacher_channels
links['neck_feature']['student_connector'].update(in_channels=64, out_channels=128)

model = dict(
    _delete_=True,
    type='BEVFusionDistiller',
    student={{_base_.model}},
    teacher=dict(
        config='configs/bevfusion/bevfusion_lidar_teacher_mini.py',
        checkpoint='work_dirs/bevfusion_lidar_teacher_mini/epoch_5.pth',
    ),
    links=links,
)
custom_hooks = _base_.distill_hooks

# The same on the embedded data set, for one CPU core: only sizes and paths differ.
_base_ = [
    '../bevfusion/bevfusion_lidar_student_mini.py',
    '../_base_/distill/bevfusion_crd.py',
]
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

links = _base_.links
links['neck_crd']['loss'].update(
    student_channels=64, teacher_channels=128, memory=dict(num_negatives=512)
)
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

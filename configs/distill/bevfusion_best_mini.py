# The best recipe on the embedded data set, for one CPU core: only sizes and paths differ.
_base_ = [
    '../bevfusion/bevfusion_lidar_student_mini.py',
    '../_base_/distill/bevfusion_best.py',
]
from mmdistill3d import fit_links

custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)
teacher_config = 'configs/bevfusion/bevfusion_lidar_teacher_mini.py'
links = fit_links(_base_.links, student=_base_.model, teacher=teacher_config)
links['neck_feature']['mask'].update(background=0.002)  # 8 boxes over 64 x 64 cells
model = dict(
    _delete_=True,
    type='BEVFusionDistiller',
    student=_base_.model,
    teacher=dict(
        config=teacher_config,
        checkpoint='work_dirs/bevfusion_lidar_teacher_mini/epoch_5.pth',
    ),
    links=links,
    targets=_base_.targets,
)
custom_hooks = _base_.distill_hooks

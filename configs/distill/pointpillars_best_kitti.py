# The best recipe for PointPillars on KITTI: the published detector teaches one of half its width.
_base_ = [
    '../_base_/distill/hooks.py',
    '../_base_/distill/anchor_best.py',
    '../pointpillars/pointpillars_kitti.py',
]
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='Distiller',
    student=dict(config='configs/pointpillars/pointpillars_kitti.py'),
    teacher=dict(
        config='configs/pointpillars/pointpillars_teacher_kitti.py',
        checkpoint=(
            'https://download.openmmlab.com/mmdetection3d/v1.0.0_models/pointpillars/hv_pointpillars_secfpn_6x8_160e_kitti-3d-3class/'
            'hv_pointpillars_secfpn_6x8_160e_kitti-3d-3class_20220301_150306-37dc2420.pth'
        ),
    ),
    links=_base_.links,
)
custom_hooks = [*_base_.distill_hooks, dict(type='Det3DInitHook')]

# The best recipe for SECOND on KITTI: the published detector teaches one of half its width.
_base_ = [
    '../_base_/distill/hooks.py',
    '../_base_/distill/anchor_best.py',
    '../second/second_kitti.py',
]
custom_imports = dict(imports=['bevfusion', 'mmdistill3d'], allow_failed_imports=False)

model = dict(
    _delete_=True,
    type='Distiller',
    student=dict(config='configs/second/second_kitti.py'),
    teacher=dict(
        config='configs/second/second_teacher_kitti.py',
        checkpoint=(
            'https://download.openmmlab.com/mmdetection3d/v1.1.0_models/second/second_hv_secfpn_8xb6-80e_kitti-3d-3class/'
            'second_hv_secfpn_8xb6-80e_kitti-3d-3class-b086d0a3.pth'
        ),
    ),
    links=_base_.links,
)
custom_hooks = [*_base_.distill_hooks, dict(type='Det3DInitHook')]

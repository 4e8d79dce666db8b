# SECOND on KITTI as published, three classes; its checkpoint is a teacher as it is.
#   python tools/create_data.py kitti --root-path data/kitti
_base_ = ['mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py']
custom_imports = dict(imports=['bevfusion', 'mmdistill'], allow_failed_imports=False)

model = dict(middle_encoder=dict(type='PortableSparseEncoder'))  # the same, on a CPU as well
default_hooks = dict(fit_checkpoint=dict(type='FitCheckpointHook'))
custom_hooks = [dict(type='RandomStateHook')]
randomness = dict(seed=0)

# PointPillars on KITTI as published, three classes; its checkpoint is a teacher as it is.
#   python tools/create_data.py kitti --root-path data/kitti
_base_ = ['mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py']
custom_imports = dict(imports=['bevfusion', 'mmdistill'], allow_failed_imports=False)

# Objects are pasted at their own height: the grounds of planes/ are an extra download. With them,
# and create_data.py --with-plane: use_ground_plane=True as published.
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(use_ground_plane=False)
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))

default_hooks = dict(fit_checkpoint=dict(type='FitCheckpointHook'))
custom_hooks = [dict(type='RandomStateHook')]
randomness = dict(seed=0)

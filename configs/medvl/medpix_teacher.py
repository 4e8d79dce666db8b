# ViT-L and Bio_ClinicalBERT on MedPix-2.0: the teacher.
_base_ = [
    '../_base_/datasets/medpix.py',
    '../_base_/models/vit_l_clinicalbert.py',
    '../_base_/schedules/image_text.py',
]
custom_imports = dict(imports=['mmdistill', 'mmdistill_hf', 'medvl'], allow_failed_imports=False)
model = dict(heads={task: dict(num_classes=len(names)) for task, names in _base_.classes.items()})
max_epochs = 5
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, convert_to_iter_based=True),
]

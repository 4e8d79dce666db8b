# ViT-B and DistilBERT on MedPix-2.0: the student, alone.
_base_ = [
    '../_base_/datasets/medpix.py',
    '../_base_/models/vit_b_distilbert.py',
    '../_base_/schedules/image_text.py',
]
custom_imports = dict(imports=['mmdistill', 'mmdistill_hf', 'medvl'], allow_failed_imports=False)
model = dict(heads={task: dict(num_classes=len(names)) for task, names in _base_.classes.items()})

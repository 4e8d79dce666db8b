# ViT-L and Bio_ClinicalBERT on MedPix-2.0: the teacher.
_base_ = ['./medpix_student.py']
model = dict(
    data_preprocessor=dict(tokenizer='emilyalsentzer/Bio_ClinicalBERT'),
    vision=dict(
        config=dict(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
        ),
        pretrained='google/vit-large-patch16-224',
    ),
    text=dict(
        config=dict(model_type='bert', vocab_size=28996),
        pretrained='emilyalsentzer/Bio_ClinicalBERT',
    ),
    fusion=dict(num_layers=2),
)
max_epochs = 5
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, convert_to_iter_based=True),
]

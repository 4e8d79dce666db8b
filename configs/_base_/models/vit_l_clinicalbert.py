# ViT-L/16 and Bio_ClinicalBERT; the heads are the data set's.
_base_ = ['./vit_b_distilbert.py']
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

# ViT-B/16 and DistilBERT; the heads are the data set's.
model = dict(
    type='ImageTextClassifier',
    data_preprocessor=dict(
        type='ImageTextPreprocessor',
        mean=[127.5] * 3,
        std=[127.5] * 3,
        tokenizer='distilbert-base-uncased',
        max_length=256,
    ),
    vision=dict(
        type='HFVisionEncoder',
        config=dict(model_type='vit'),
        pretrained='google/vit-base-patch16-224',
    ),
    text=dict(
        type='HFTextEncoder',
        config=dict(model_type='distilbert'),
        pretrained='distilbert-base-uncased',
    ),
    fusion=dict(type='CrossAttentionFusion', num_layers=1, num_heads=8),
    channels=512,
)

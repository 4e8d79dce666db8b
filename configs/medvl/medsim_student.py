# A narrow ViT and a DistilBERT of one layer on medsim: the student, alone.
_base_ = ['../_base_/datasets/medpix.py', '../_base_/schedules/image_text.py']
custom_imports = dict(imports=['mmdistill', 'mmdistill_hf', 'medvl'], allow_failed_imports=False)

data_root, image_size = 'data/medsim/MedPix-2-0/', 48
tokenizers = 'data/medsim/tokenizers/'
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='FitSquare', size=image_size),
    dict(type='RandomShift'),
    dict(type='PackImageText'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='FitSquare', size=image_size),
    dict(type='PackImageText'),
]
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    **loader, batch_size=32, dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    **loader, batch_size=64, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = dict(
    num_workers=0, batch_size=64, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)

model = dict(
    type='ImageTextClassifier',
    data_preprocessor=dict(
        type='ImageTextPreprocessor',
        mean=[60.0] * 3,
        std=[60.0] * 3,
        tokenizer=tokenizers + 'pieces',
        max_length=64,
    ),
    vision=dict(
        type='HFVisionEncoder',
        stem=dict(type='ConvStem', channels=(8, 16, 24)),
        config=dict(
            model_type='vit',
            image_size=image_size // 8,
            patch_size=1,
            num_channels=24,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
        ),
    ),
    text=dict(
        type='HFTextEncoder',
        config=dict(
            model_type='distilbert',
            vocab_size=260,
            max_position_embeddings=64,
            dim=32,
            n_layers=1,
            n_heads=2,
            hidden_dim=64,
        ),
    ),
    fusion=dict(type='ConcatFusion'),
    channels=32,
    image_pool='mean',
    text_pool='mean',
    heads={task: dict(num_classes=len(names)) for task, names in _base_.classes.items()},
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
max_epochs = 6
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=-1))  # the best and the last: a run takes seconds
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, convert_to_iter_based=True),
]

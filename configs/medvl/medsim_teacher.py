# A wider ViT and a BERT with a vocabulary of words on medsim: the teacher.
_base_ = ['./medsim_student.py']
model = dict(
    data_preprocessor=dict(tokenizer=_base_.tokenizers + 'words'),
    vision=dict(
        stem=dict(channels=(16, 32, 64)),
        config=dict(
            num_channels=64,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
        ),
    ),
    text=dict(
        config=dict(
            _delete_=True,
            model_type='bert',
            vocab_size=353,
            max_position_embeddings=64,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
        )
    ),
    channels=64,
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
max_epochs = 12
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, convert_to_iter_based=True),
]

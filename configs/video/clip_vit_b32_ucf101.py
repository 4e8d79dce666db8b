# The teacher: a frozen CLIP ViT-B/32, the mean over frames, and a classifier that is trained. It
# must be: the class scores of a random one would teach nothing.
_base_ = ['./_base_/ucf101.py', './_base_/schedule_30e.py']
model = dict(
    type='VideoClassifier',
    data_preprocessor=dict(
        type='ClipPreprocessor',
        to_rgb=True,
        mean=[122.77, 116.75, 104.09],
        std=[68.50, 66.63, 70.32],
    ),
    backbone=dict(
        type='HFVisionEncoder',
        pool='projection',
        frozen=True,
        config=dict(model_type='clip_vision_model', patch_size=32, projection_dim=512),
        pretrained='openai/clip-vit-base-patch32',
    ),
    neck=dict(type='TemporalPool', mode='mean'),
    head=dict(type='ClassificationHead', num_classes={{_base_.num_classes}}),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))

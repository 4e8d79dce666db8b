# CLIP in small, frozen as the large one, under a temporal transformer that is trained: the teacher
# of the mini chain. Its image encoder is clip_frames_mini.py's, which has learned single frames.
_base_ = ['./_base_/videosim.py', './_base_/schedule_mini.py']
width, stem = 128, (24, 48, 96)
encoder = dict(
    type='HFVisionEncoder',
    pool='projection',
    frozen=True,
    stem=dict(type='ConvStem', channels=stem),
    config=dict(
        model_type='clip_vision_model',
        image_size=5,  # 40 pixels behind three halvings
        patch_size=1,
        num_channels=stem[-1],
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=width,
    ),
)
model = dict(
    type='VideoClassifier',
    data_preprocessor=dict(  # CLIP's mean and standard deviation
        type='ClipPreprocessor',
        to_rgb=True,
        mean=[122.77, 116.75, 104.09],
        std=[68.50, 66.63, 70.32],
    ),
    backbone=encoder,
    neck=dict(type='TemporalPool', mode='transformer', num_frames={{_base_.num_frames}}),
    head=dict(type='ClassificationHead', num_classes={{_base_.num_classes}}),
)
load_from = 'work_dirs/clip_frames_mini/model_best.pth'
optim_wrapper = dict(optimizer=dict(lr=1e-3))

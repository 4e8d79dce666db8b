# The student of the mini chain, alone: a small convolutional encoder, and attention over frames
# that know their place.
_base_ = ['./_base_/videosim.py', './_base_/schedule_mini.py']
model = dict(
    type='VideoClassifier',
    backbone=dict(
        type='FrameCNN',
        channels=(8, 16, 24, 32),
        out_channels=48,
        image_size={{_base_.size}},
    ),
    neck=dict(
        type='TemporalPool',
        channels=128,
        mode='attention+position',
        num_frames={{_base_.num_frames}},
    ),
    head=dict(type='ClassificationHead', num_classes={{_base_.num_classes}}),
)

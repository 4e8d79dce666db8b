# The student, alone: MobileViT-XXS, attention over frames, and a classifier.
_base_ = ['./_base_/ucf101.py', './_base_/schedule_30e.py']
model = dict(
    type='VideoClassifier',
    data_preprocessor=dict(type='ClipPreprocessor'),  # blue first, from 0 to 1
    backbone=dict(
        type='HFVisionEncoder',
        config=dict(
            model_type='mobilevit',
            hidden_sizes=[64, 80, 96],
            neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
            expand_ratio=2.0,
            hidden_dropout_prob=0.05,
            image_size=224,  # of the made-up batch alone: it takes any
        ),
        pretrained='apple/mobilevit-xx-small',
        init='torch',  # where pretrained=None
    ),
    neck=dict(type='TemporalPool', channels=512, mode='attention'),
    head=dict(type='ClassificationHead', num_classes={{_base_.num_classes}}),
)

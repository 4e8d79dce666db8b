# Combined: answers (alpha = 1, T = 4), features (beta = 100) and contrast in the batch (gamma = 10).
_base_ = ['./medsim_vanilla.py']
feature = dict(
    student_connector=dict(type='LinearConnector'),
    loss=dict(type='FitNetLoss'),
    weight=100.0,
)
contrast = dict(
    loss=dict(type='ContrastiveLoss', temperature=0.1),
    weight=10.0,
)
model = dict(
    links=dict(
        modality_kd=dict(loss=dict(temperature=4.0)),
        location_kd=dict(loss=dict(temperature=4.0)),
        image_feature=dict(student='img_proj', teacher='img_proj', **feature),
        text_feature=dict(student='txt_proj', teacher='txt_proj', **feature),
        image_contrast=dict(student='img_proj', teacher='img_proj', **contrast),
        text_contrast=dict(student='txt_proj', teacher='txt_proj', **contrast),
    )
)

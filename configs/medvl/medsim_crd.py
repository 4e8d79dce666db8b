# CRD: each projection of a sample is told from those of the whole data set, kept by sample.
_base_ = ['./medsim_vanilla.py']
loss = dict(type='CRDLoss', memory=dict(num_negatives=512))
model = dict(
    links=dict(
        _delete_=True,
        image=dict(student='img_proj', teacher='img_proj', loss=loss, weight=0.2),
        text=dict(student='txt_proj', teacher='txt_proj', loss=loss, weight=0.2),
    )
)

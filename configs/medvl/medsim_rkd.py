# RKD: how far apart, and in which directions, the samples of a batch lie.
_base_ = ['./medsim_vanilla.py']
loss = dict(type='RKDLoss')
model = dict(
    links=dict(
        _delete_=True,
        image=dict(student='img_proj', teacher='img_proj', loss=loss, weight=5.0),
        text=dict(student='txt_proj', teacher='txt_proj', loss=loss, weight=5.0),
    )
)

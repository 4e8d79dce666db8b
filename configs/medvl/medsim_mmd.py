# MMD: the batch's projections are spread as the teacher's, seen at five widths of the kernel.
_base_ = ['./medsim_vanilla.py']
link = dict(
    student_connector=dict(type='LinearConnector'),
    loss=dict(type='MMDLoss', kernel='rbf', bandwidth=[0.2, 0.5, 1.0, 2.0, 5.0]),
    weight=2.0,
)
model = dict(
    links=dict(
        _delete_=True,
        image=dict(student='img_proj', teacher='img_proj', **link),
        text=dict(student='txt_proj', teacher='txt_proj', **link),
    )
)

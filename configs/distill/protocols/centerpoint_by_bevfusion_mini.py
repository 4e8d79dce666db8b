# What does a CenterPoint student gain from a teacher of another family, BEVFusion, from whose weights
# it cannot start? By features where objects are, by CRD of objects, and by both.
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/centerpoint_by_bevfusion_mini.py
_base_ = ['bevfusion_mini.py']
both = 'configs/distill/centerpoint_pillar_crd_mini.py'
alone = dict(against=['centerpoint_alone'])

protocol = dict(
    epochs=2,
    seeds=[0, 1, 2],
    rows=[
        dict(
            name='centerpoint_alone',
            label='alone',
            config='configs/centerpoint/centerpoint_pillar_mini.py',
        ),
        dict(
            name='centerpoint_cross_feature',
            label='features where objects are',
            config=both,
            options={'model.links.neck_crd': None},
            **alone,
        ),
        dict(
            name='centerpoint_cross_crd',
            label='CRD of objects',
            config=both,
            options={'model.links.neck_feature': None},
            **alone,
        ),
        dict(
            name='centerpoint_cross',
            label='features where objects are, CRD of objects',
            config=both,
            against=['centerpoint_alone', 'centerpoint_cross_feature'],
        ),
    ],
)
del both, alone

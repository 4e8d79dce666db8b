# Start from the teacher's weights, learn from its heads, and from its boxes as further targets.
_base_ = ['init_response.py']
model = dict(
    targets=dict(
        type='TeacherLabels',
        classes={{_base_.class_names}},
        score_thr=dict(pedestrian=0.3, traffic_cone=0.3, barrier=0.3, default=0.4),
        min_distance=dict(pedestrian=0.5, traffic_cone=0.5, barrier=1.0, default=2.0),
        max_per_frame=20,
    )
)

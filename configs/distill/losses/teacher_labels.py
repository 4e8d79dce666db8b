# Label distillation: what the teacher is sure of beside the annotations is a target, too. Small
# objects are told apart at smaller distances, and need less of a score.
_base_ = ['../../_base_/distill/mini_pair.py']
model = dict(
    targets=dict(
        type='TeacherLabels',
        classes={{_base_.class_names}},
        score_thr=dict(pedestrian=0.3, traffic_cone=0.3, barrier=0.3, default=0.4),
        min_distance=dict(pedestrian=0.5, traffic_cone=0.5, barrier=1.0, default=2.0),
        max_per_frame=20,
    )
)

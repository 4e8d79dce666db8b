# Start from the teacher's weights, then learn from its heads.
_base_ = ['../bevfusion_best_mini.py']
model = dict(links=dict(neck_feature=None))

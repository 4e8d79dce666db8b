# What the heads answer: class heatmaps where objects are, and matched queries.
_base_ = ['../bevfusion_best_mini.py']
model = dict(links=dict(neck_feature=None))
custom_hooks = _base_.distill_hooks

# Start from the teacher's weights, then learn from its heads and its neck.
_base_ = ['response_feature.py']
custom_hooks = [*_base_.custom_hooks, dict(type='Det3DInitHook')]

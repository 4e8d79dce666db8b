# Start from the teacher's weights, then learn from its heads.
_base_ = ['response.py']
custom_hooks = [*_base_.custom_hooks, dict(type='Det3DInitHook')]

# Start from the teacher's weights, of wider layers the first channels, and learn from the
# annotations alone.
_base_ = ['../../_base_/distill/mini_pair.py']
custom_hooks = [*_base_.custom_hooks, dict(type='Det3DInitHook', channels='first')]

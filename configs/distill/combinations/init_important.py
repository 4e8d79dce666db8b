# Start from those of the teacher's channels that contribute most, in place of its first ones, and
# learn from the annotations alone.
_base_ = ['../../_base_/distill/mini_pair.py']
custom_hooks = [*_base_.custom_hooks, dict(type='Det3DInitHook', channels='important')]

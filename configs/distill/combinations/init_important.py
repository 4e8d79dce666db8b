# Start from those of the teacher's channels that contribute most, and learn from the annotations
# alone: the narrower the student, the more it gains over the teacher's first channels.
_base_ = ['../../_base_/distill/mini_pair.py']
custom_hooks = [*_base_.custom_hooks, dict(type='Det3DInitHook', channels='important')]

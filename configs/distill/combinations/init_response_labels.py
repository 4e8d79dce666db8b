# Start from the teacher's weights, learn from its heads, and from its boxes as further targets.
_base_ = ['../losses/teacher_labels.py', '../../_base_/distill/best.py']
links = _base_.links
links['neck_feature'] = None
model = dict(links=links)
custom_hooks = _base_.custom_hooks + [dict(type='Det3DInitHook')]

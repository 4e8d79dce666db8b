# The best recipe on the embedded data set, for one CPU core.
_base_ = ['../_base_/distill/mini_pair.py', '../_base_/distill/best.py']

links = _base_.links
links['neck_feature']['mask'].update(background=0.002)  # 8 boxes over 64 x 64 cells
model = dict(links=links)
custom_hooks = _base_.custom_hooks + [dict(type='Det3DInitHook')]

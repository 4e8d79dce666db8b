# The best recipe on the embedded data set, for one CPU core.
_base_ = ['../_base_/distill/mini_pair.py', '../_base_/distill/best.py']
model = dict(links=_base_.links)
custom_hooks = _base_.custom_hooks + [dict(type='Det3DInitHook')]

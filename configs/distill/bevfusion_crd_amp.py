# bevfusion_crd.py in mixed precision, as by --amp.
_base_ = ['bevfusion_crd.py']

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale=dict(growth_interval=2000))

# The published variant in mixed precision; any config takes the same by --amp or
# --cfg-options optim_wrapper.type=AmpOptimWrapper.
_base_ = ['bevfusion_lidar_teacher.py']

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale=dict(growth_interval=2000))

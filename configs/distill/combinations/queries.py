# The links of the best recipe, from a random start.
_base_ = ['../bevfusion_best_mini.py']
custom_hooks = _base_.distill_hooks

# The best recipe from a random start: heads, and the teacher's features in the cells of objects.
_base_ = ['../bevfusion_best_mini.py']
custom_hooks = _base_.distill_hooks

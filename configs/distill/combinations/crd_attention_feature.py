# The links of configs/distill/bevfusion_crd_mini.py: CRD, attention and features of the neck.
_base_ = ['../bevfusion_crd_mini.py']

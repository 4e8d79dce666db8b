# The best recipe for SECOND on the embedded data set in KITTI's form, for one CPU core.
_base_ = ['second_init_kitti_mini.py', '../_base_/distill/anchor_best.py']

model = dict(links=_base_.links)

# The best recipe for PointPillars on the embedded data set in KITTI's form, for one CPU core.
_base_ = ['pointpillars_init_kitti_mini.py', '../_base_/distill/anchor_best.py']

model = dict(links=_base_.links)

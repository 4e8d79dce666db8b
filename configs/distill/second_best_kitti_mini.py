# The best recipe for SECOND on the embedded data set in KITTI's form, for one CPU core.
_base_ = ['second_init_kitti_mini.py', '../_base_/distill/anchor_best.py']

links = _base_.links
links['neck_feature']['mask'].update(background=0.001)  # 8 boxes over 96 x 80 cells
model = dict(links=links)

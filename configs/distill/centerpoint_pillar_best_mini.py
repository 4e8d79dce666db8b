# The best recipe for CenterPoint with pillars on the embedded data set, for one CPU core.
_base_ = ['centerpoint_pillar_init_mini.py', '../_base_/distill/centre_best.py']

links = _base_.links
links['neck_feature']['mask'].update(background=0.002)  # 8 boxes over 64 x 64 cells
model = dict(links=links)

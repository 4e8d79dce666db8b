# CRD of the objects in the neck on the embedded data set, for one CPU core.
_base_ = ['../_base_/distill/mini_pair.py', '../_base_/distill/crd.py']

links = _base_.links
for name in ('encoder_crd', 'backbone_crd'):
    links[name]['loss']['memory'].update(num_negatives=512)
del name
model = dict(links=links)

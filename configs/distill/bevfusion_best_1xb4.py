# bevfusion_best.py on one GPU. 4 samples a step instead of 32 make an eighth of the rates, which
# auto_scale_lr sets here as for any number of GPUs; more workers, as one process loads it all.
_base_ = ['bevfusion_best.py']

train_dataloader = dict(batch_size=4, num_workers=8)

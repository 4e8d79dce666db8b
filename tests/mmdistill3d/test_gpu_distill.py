"""A distillation on CUDA follows the one on the CPU."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

pytestmark = pytest.mark.gpu
DEVICE = 'cuda'
STEPS = 20


@pytest.fixture
def train(distill_model, batch):
    """``train(device, **optim_wrapper)`` -> the loss of each step, from the same start."""
    # Dropout draws other numbers on another device.
    distill_model.student.bbox_head.decoder_layer.ffn_cfg.ffn_drop = 0.0
    torch.manual_seed(0)
    start = MODELS.build(distill_model)
    start.init_weights()
    start.prepare(num_samples=8)
    (teacher,) = start.teachers.values()

    def run(device, **optim_wrapper):
        distiller = MODELS.build(distill_model)
        distiller.prepare(num_samples=8)
        distiller.load_state_dict(start.state_dict())
        distiller.teachers['teacher'].model.load_state_dict(teacher.model.state_dict())
        distiller = distiller.to(device).train()
        optimizer = build_optim_wrapper(
            distiller,
            dict(
                type='OptimWrapper',
                optimizer=dict(type='AdamW', lr=1e-3),
                clip_grad=dict(max_norm=35),
                **optim_wrapper,
            ),
        )
        losses = []
        for _ in range(STEPS):
            values = distiller.train_step(copy.deepcopy(batch), optimizer)
            losses.append({name: float(value) for name, value in values.items()})
        return losses

    return run


def totals(losses):
    return torch.tensor([step['loss'] for step in losses])


def test_the_loss_curve_is_the_cpus_within_noise(train):
    cpu, cuda = train('cpu'), train(DEVICE)
    for name, value in cpu[0].items():  # the same weights, the same batch
        assert cuda[0][name] == pytest.approx(value, rel=5e-3, abs=1e-3), name
    # Later, rounding may flip a match of boxes and queries; the curve stays.
    deviation = (totals(cuda) - totals(cpu)).abs() / totals(cpu)
    assert deviation[:5].max() < 0.05
    assert deviation.mean() < 0.1
    assert totals(cuda)[-5:].mean() < totals(cuda)[:5].mean()


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_mixed_precision_learns_alike(train, dtype):
    single = totals(train(DEVICE))
    mixed = totals(train(DEVICE, type='AmpOptimWrapper', dtype=dtype))
    assert mixed.isfinite().all()
    assert ((mixed - single).abs() / single).mean() < 0.15
    assert mixed[-5:].mean() < mixed[:5].mean()

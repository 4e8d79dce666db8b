"""Copies of a distiller, as EMAHook makes them, move without the teacher that they share."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS

MOVES = [lambda m: m.half(), lambda m: m.to('meta'), lambda m: m.to(torch.float64)]


@pytest.fixture
def distiller(distiller_config):
    distiller = MODELS.build(distiller_config())
    distiller.init_weights()
    return distiller


def kinds(model):
    return {(tensor.device.type, tensor.dtype) for tensor in model.state_dict().values()}


@pytest.mark.parametrize('move', MOVES)
def test_a_copy_that_moves_leaves_the_originals_teacher_where_it_is(distiller, batch, move):
    teacher = distiller.teachers['teacher'].model
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    for copied in (copy.deepcopy(distiller), copy.deepcopy(copy.deepcopy(distiller))):
        moved = kinds(move(copied))
        assert moved != {('cpu', torch.float32)}
        assert kinds(teacher) == {('cpu', torch.float32)}
        assert copied.teachers['teacher'].model is teacher
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    losses = distiller(**batch, mode='loss')
    assert losses['distill/attention'].isfinite()


@pytest.mark.parametrize('move', MOVES)
def test_the_original_takes_its_teacher_along(distiller, move):
    copied = copy.deepcopy(distiller)
    moved = kinds(move(distiller).student)
    assert moved != {('cpu', torch.float32)}
    assert kinds(distiller.teachers['teacher'].model) == moved
    assert kinds(copied) == {('cpu', torch.float32)}


def test_averages_on_another_device_leave_the_teacher(distiller):
    """``EMAHook(device=...)`` builds them so."""
    averaged = ExponentialMovingAverage(distiller, device=torch.device('meta'))
    assert kinds(averaged.module) == {('meta', torch.float32)}
    assert kinds(distiller.teachers['teacher'].model) == {('cpu', torch.float32)}

"""What holds for every loss between maps, whatever its formula."""

import pytest
import torch
from mmengine.registry import MODELS

CHANNELS = dict(student_channels=3, teacher_channels=3)
LOSSES = {
    'fitnet': dict(type='FitNetLoss'),
    'l1': dict(type='FeatureL1Loss'),
    'smooth_l1': dict(type='FeatureL1Loss', beta=0.5),
    'normalized_mse': dict(type='NormalizedMSELoss'),
    'normalized_mse_sample': dict(type='NormalizedMSELoss', over='sample'),
    'cosine': dict(type='CosineLoss'),
    'cosine_sample': dict(type='CosineLoss', over='sample'),
    'pkd': dict(type='PKDLoss'),
    'cwd': dict(type='CWDLoss'),
    'attention_sum': dict(type='AttentionTransferLoss', mode='sum'),
    'attention_mean': dict(type='AttentionTransferLoss', mode='mean'),
    'attention_norm': dict(type='AttentionTransferLoss', mode='norm'),
    'nst_linear': dict(type='NSTLoss', kernel='linear'),
    'nst_polynomial': dict(type='NSTLoss', kernel='polynomial'),
    'nst_rbf': dict(type='NSTLoss', kernel='rbf'),
    'mgd': dict(type='MGDLoss', **CHANNELS),
    'factor': dict(type='FactorTransferLoss', **CHANNELS),
    'vid': dict(type='VIDLoss', **CHANNELS),
}
# Their convolutions look beyond a position, also beyond the mask.
LOOK_AROUND = {'mgd', 'factor'}
# Means over samples, in which each counts alike; others are means over all positions.
SAMPLE_BY_SAMPLE = {'normalized_mse_sample', 'cosine_sample', 'cwd'}
SAMPLE_BY_SAMPLE |= {name for name in LOSSES if name.startswith(('attention', 'nst'))}


@pytest.fixture(params=LOSSES)
def name(request):
    return request.param


@pytest.fixture
def loss(name):
    torch.manual_seed(3)
    return MODELS.build(LOSSES[name])


def value_and_gradient(loss, student, teacher, **arguments):
    """Return both, with the same draws at every call."""
    student = student.detach().requires_grad_()
    torch.manual_seed(4)
    result = loss(student, teacher, **arguments)
    assert result.shape == ()
    (gradient,) = torch.autograd.grad(result, student)
    return result, gradient


def test_the_teacher_gets_no_gradient_and_the_student_some(loss, pair):
    teacher = pair[1].detach().requires_grad_()
    loss = loss.double()
    loss(*pair[:1], teacher).backward()
    assert teacher.grad is None
    assert pair[0].grad.abs().max() > 0


def test_the_weight_multiplies_the_loss(name, loss, pair):
    torch.manual_seed(3)
    heavy = MODELS.build({**LOSSES[name], 'loss_weight': 4.0}).double()
    one, gradient = value_and_gradient(loss.double(), *pair)
    other, other_gradient = value_and_gradient(heavy, *pair)
    torch.testing.assert_close(other, 4 * one)
    torch.testing.assert_close(other_gradient, 4 * gradient)


def test_a_mask_of_ones_changes_nothing(loss, pair, weights):
    expected = value_and_gradient(loss.double(), *pair)
    actual = value_and_gradient(loss, *pair, mask=torch.ones_like(weights))
    torch.testing.assert_close(actual, expected)


def test_a_factor_of_the_mask_cancels(loss, pair, weights):
    expected = value_and_gradient(loss.double(), *pair, mask=weights)
    actual = value_and_gradient(loss, *pair, mask=50 * weights)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize('name', sorted(set(LOSSES) - LOOK_AROUND))
def test_what_the_mask_leaves_out_does_not_count(loss, pair, weights):
    student, teacher = pair
    outside = (weights == 0).double()
    expected, gradient = value_and_gradient(loss.double(), *pair, mask=weights)
    assert (gradient * outside).abs().max() == 0
    actual = value_and_gradient(loss, student + 9 * outside, teacher - outside, mask=weights)
    torch.testing.assert_close(actual, (expected, gradient))


def test_an_empty_mask_gives_a_zero_that_still_reaches_the_student(loss, pair):
    empty = torch.zeros(2, 1, 4, 5)
    result, gradient = value_and_gradient(loss.double(), *pair, mask=empty)
    assert float(result) == pytest.approx(0, abs=2e-6)
    assert gradient.abs().max() < 1e-15


@pytest.mark.parametrize('name', sorted(set(LOSSES) - LOOK_AROUND))
def test_a_sample_with_an_empty_mask_is_a_zero_or_does_not_exist(name, loss, pair, weights):
    weights[1] = 0
    one, gradient = value_and_gradient(
        loss.double(), *(feature[:1] for feature in pair), mask=weights[:1]
    )
    share = 1 / 2 if name in SAMPLE_BY_SAMPLE else 1
    both, both_gradient = value_and_gradient(loss, *pair, mask=weights)
    torch.testing.assert_close(both, share * one, rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(both_gradient[0], share * gradient[0])
    assert both_gradient[1].abs().max() < 1e-15


@pytest.mark.parametrize('value', [0.0, 1.0, -300.0])
def test_constant_maps_give_finite_gradients(loss, pair, value):
    constant = torch.full((2, 3, 4, 5), value)
    other = pair[1].float()
    for student, teacher in ((constant, other), (other, constant), (constant, constant)):
        result, gradient = value_and_gradient(loss, student, teacher)
        assert result.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_precision(loss, dtype):
    torch.manual_seed(0)
    # Squares and sums over positions would overflow fp16.
    student, teacher = (300 * torch.randn(2, 3, 40, 50)).to(dtype), torch.randn(2, 3, 40, 50)
    expected, expected_gradient = value_and_gradient(loss, student.float(), teacher)
    result, gradient = value_and_gradient(loss, student, teacher)
    assert result.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(gradient.float(), expected_gradient, rtol=1e-2, atol=1e-5)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result, gradient = value_and_gradient(loss, student, teacher)
    torch.testing.assert_close(result, expected, rtol=5e-2, atol=1e-3)
    assert gradient.isfinite().all()


def test_a_mask_of_another_size_is_refused(loss, pair):
    with pytest.raises(ValueError, match=r'mask is \(2, 1, 4, 4\)'):
        loss.double()(*pair, mask=torch.ones(2, 1, 4, 4))

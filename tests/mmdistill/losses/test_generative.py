"""Losses with a network of their own against formulas written out in loops."""

import copy
import math

import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

from tests.mmdistill.losses.compare import assert_same, positions


def build(name, **settings):
    torch.manual_seed(2)
    config = dict(type=name, student_channels=3, teacher_channels=6, loss_weight=2.0)
    return MODELS.build({**config, **settings}).double()


def naive_mean(values, mask):
    """Mean of maps over channels, weighted over positions."""
    total = sum(mask[b, 0, h, w] * values[b, :, h, w].mean() for b, h, w in positions(values))
    return total / mask.sum()


@pytest.mark.parametrize('teacher_channels', [3, 6])
def test_mgd_generates_the_teacher_from_the_positions_that_are_not_hidden(
    maps, weights, teacher_channels
):
    student, teacher = maps[0], maps[1][:, :teacher_channels]
    loss = build('MGDLoss', teacher_channels=teacher_channels)
    for mask in (torch.ones_like(weights), weights):
        torch.manual_seed(5)
        shown = [[0.0 if float(torch.rand(())) < 0.65 else 1.0 for _ in range(20)] for _ in '12']
        shown = torch.tensor(shown, dtype=torch.float64).view(2, 1, 4, 5)
        aligned = student
        if teacher_channels != 3:
            aligned = F.conv2d(student, loss.align.weight, loss.align.bias)
        first, _, second = loss.generation
        generated = F.conv2d(aligned * shown, first.weight, first.bias, padding=1)
        generated = F.conv2d(generated.clamp(min=0), second.weight, second.bias, padding=1)
        expected = 2 * naive_mean((generated - teacher) ** 2, mask)
        torch.manual_seed(5)
        actual = loss(student, teacher, mask=None if mask is not weights else mask)
        assert_same(actual, expected, student, *loss.parameters())


def test_mgd_hides_other_positions_at_every_step_and_the_same_after_a_restart(maps):
    loss = build('MGDLoss')
    state = torch.get_rng_state()
    first, second = loss(*maps), loss(*maps)
    torch.set_rng_state(state)
    assert first != second
    assert (loss(*maps), loss(*maps)) == (first, second)


def test_mgd_hides_the_share_it_is_told(maps):
    """Where all is shown, the loss does not depend on the draws."""
    loss = build('MGDLoss', mask_ratio=0)
    assert loss(*maps) == loss(*maps)
    student = torch.ones(1, 3, 100, 100, dtype=torch.float64, requires_grad=True)
    loss = build('MGDLoss', mask_ratio=0.8, teacher_channels=3)
    loss.generation = torch.nn.Identity()
    loss(student, torch.zeros_like(student)).backward()
    assert float((student.grad == 0).double().mean()) == pytest.approx(0.8, abs=0.02)


def naive_factor_distance(student, teacher, mask, p):
    total = 0.0
    for s, t, m in zip(student, teacher, mask, strict=True):
        lengths = [torch.sqrt((m * f**2).sum()) for f in (s, t)]
        distance = 0.0
        for _, h, w in positions(s[None]):
            difference = s[:, h, w] / lengths[0] - t[:, h, w] / lengths[1]
            distance = distance + m[0, h, w] * sum(abs(d) ** p for d in difference)
        total = total + (distance / torch.sqrt(m.sum() * len(s)) if p == 1 else distance)
    return total / len(student)


@pytest.mark.parametrize('p', [1, 2])
def test_factor_transfer_compares_factors_of_unit_length_and_trains_the_paraphraser(
    maps, weights, p
):
    student, teacher = maps
    loss = build('FactorTransferLoss', p=p, reconstruction_weight=0.3)
    for mask in (torch.ones_like(weights), weights):
        factor = loss.paraphraser(teacher)
        assert factor.shape == (2, 3, 4, 5)
        expected = naive_factor_distance(loss.translator(student), factor.detach(), mask, p)
        lost = (mask * (loss.decoder(factor) - teacher) ** 2).sum() / (mask * teacher**2).sum()
        actual = loss(student, teacher, mask=None if mask is not weights else mask)
        assert_same(actual, 2 * (expected + 0.3 * lost), student, *loss.parameters())


def test_the_paraphraser_learns_by_its_reconstruction_alone(maps):
    loss = build('FactorTransferLoss')
    student = maps[0].detach()
    one = torch.autograd.grad(loss(student, maps[1]), list(loss.paraphraser.parameters()))
    other = torch.autograd.grad(loss(9 - student, maps[1]), list(loss.paraphraser.parameters()))
    for a, b in zip(one, other, strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b)


def test_a_paraphraser_without_reconstruction_is_frozen_and_has_no_decoder(maps):
    loss = build('FactorTransferLoss', reconstruction_weight=0)
    loss(*maps).backward()
    assert all(p.grad is None and not p.requires_grad for p in loss.paraphraser.parameters())
    assert all(p.grad is not None for p in loss.translator.parameters())
    assert loss.decoder is None


def test_a_paraphraser_restores_more_when_it_is_trained(maps):
    loss = build('FactorTransferLoss', rate=1.0, loss_weight=1.0)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    student = maps[0].detach()
    first = loss(student, maps[1])
    for _ in range(60):
        optimizer.zero_grad()
        result = loss(student, maps[1])
        result.backward()
        optimizer.step()
    assert result < 0.6 * first


def test_vid_is_the_likelihood_under_a_gaussian_of_each_channel(maps, weights):
    student, teacher = maps
    loss = build('VIDLoss', hidden_channels=4, init_variance=2.0)
    torch.testing.assert_close(loss.variance, torch.full((6,), 2.0).double())
    with torch.no_grad():
        loss.raw_variance += torch.arange(6)
    for mask in (torch.ones_like(weights), weights):
        mean = loss.mean(student)
        densities = torch.stack(
            [
                torch.distributions.Normal(mean[:, c], loss.variance[c].sqrt()).log_prob(
                    teacher[:, c]
                )
                for c in range(6)
            ],
            dim=1,
        )
        expected = 2 * (-naive_mean(densities, mask) - math.log(2 * math.pi) / 2)
        actual = loss(student, teacher, mask=None if mask is not weights else mask)
        assert_same(actual, expected, student, *loss.parameters())


def test_vid_learns_which_channels_a_student_cannot_predict():
    torch.manual_seed(0)
    loss = build('VIDLoss', student_channels=1, teacher_channels=2, hidden_channels=4)
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-2)
    for _ in range(200):
        student = torch.randn(1, 1, 8, 8, dtype=torch.float64)
        teacher = torch.cat([student.abs(), torch.randn_like(student)], 1)
        optimizer.zero_grad()
        loss(student, teacher).backward()
        optimizer.step()
    assert loss.variance[0] < 0.5 * loss.variance[1]


@pytest.mark.parametrize('name', ['MGDLoss', 'FactorTransferLoss', 'VIDLoss'])
def test_parts_that_are_trained_are_in_the_state_and_every_one_gets_a_gradient(maps, name):
    loss = build(name)
    loss(*maps).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())
    assert {n for n, _ in loss.named_parameters()} == set(loss.state_dict())
    copied = copy.deepcopy(loss)
    copied.load_state_dict(loss.state_dict())
    torch.manual_seed(0)
    expected = loss(*maps)
    torch.manual_seed(0)
    assert copied(*maps) == expected


@pytest.mark.parametrize('name', ['MGDLoss', 'FactorTransferLoss', 'VIDLoss'])
def test_wrong_channels_name_the_argument(maps, name):
    with pytest.raises(ValueError, match=r'teacher_channels=5 says.*\(2, 6, 4, 5\)'):
        build(name, teacher_channels=5)(*maps)
    with pytest.raises(ValueError, match=r'student_channels=4 says.*\(2, 3, 4, 5\)'):
        build(name, student_channels=4)(*maps)
    with pytest.raises(ValueError, match=r'\(2, 3, 4, 5\), the teacher \(2, 6, 4, 4\)'):
        build(name)(maps[0], maps[1][..., :4])


@pytest.mark.parametrize(
    ('name', 'settings', 'message'),
    [
        ('MGDLoss', dict(mask_ratio=1.0), r'a share of the positions in \[0, 1\), not 1.0'),
        ('FactorTransferLoss', dict(p=3), '1 or 2, not 3'),
        ('FactorTransferLoss', dict(rate=0.01), 'leaves no channel of 6'),
        ('FactorTransferLoss', dict(kernel_size=2), 'kernel_size must be odd'),
        ('VIDLoss', dict(init_variance=0), '0 < min_variance < init_variance'),
    ],
)
def test_arguments_that_make_no_sense_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build(name, **settings)

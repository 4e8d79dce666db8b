"""The bank loss against the published algorithm, written out naively."""

import math

import pytest
import torch
from torch.nn import functional as F

from mmdistill.memory import ContrastMemory, noise_contrastive_loss
from mmdistill.memory.nce import drawn_terms, negative_terms

N, D, K, B, T = 23, 8, 40, 5, 0.1


@pytest.fixture
def problem():
    torch.manual_seed(0)
    bank = F.normalize(torch.randn(N, D, dtype=torch.float64), dim=1)
    anchors = F.normalize(torch.randn(B, D, dtype=torch.float64), dim=1)
    return anchors, bank, torch.tensor([0, 4, 4, 22, 7])


def published_loss(anchor, bank, positive, negatives, z):
    """CRD's formula with probabilities, for one anchor: gather, exponentiate, divide, log."""
    c = len(negatives) / len(bank)
    out = torch.exp(bank[positive] @ anchor / T) / z
    loss = -torch.log(out / (out + c + 1e-7))
    for row in negatives:
        out = torch.exp(bank[row] @ anchor / T) / z
        loss = loss - torch.log(c / (out + c + 1e-7))
    return loss


def loss_and_gradient(function, anchors):
    anchors = anchors.clone().requires_grad_()
    loss = function(anchors)
    loss.sum().backward()
    return loss.detach(), anchors.grad


@pytest.mark.parametrize('chunk_size', [1, 7, 100])
def test_given_draws_equal_the_published_loss_and_gradient(problem, chunk_size):
    anchors, bank, index = problem
    draws = torch.randint(N, (B, K))
    counts = torch.zeros(B, N, dtype=torch.float64)
    for b in range(B):
        for row in draws[b]:
            counts[b, row] += 1
    z = 3.7 * N

    expected = loss_and_gradient(
        lambda v: torch.stack(
            [published_loss(v[b], bank, index[b], draws[b], z) for b in range(B)]
        ),
        anchors,
    )
    actual = loss_and_gradient(
        lambda v: noise_contrastive_loss(v, bank, index, K, T, math.log(z), counts, chunk_size),
        anchors,
    )
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('chunk_size', [5, 100])
def test_marginal_form_is_the_mean_over_draws_of_other_rows(problem, chunk_size):
    anchors, bank, index = problem
    z = 2.2 * N
    # Each other row once: K = N - 1 draws whose loss is the expectation itself.
    others = torch.stack([torch.tensor([n for n in range(N) if n != i]) for i in index])
    expected = loss_and_gradient(
        lambda v: torch.stack(
            [published_loss(v[b], bank, index[b], others[b], z) for b in range(B)]
        ),
        anchors,
    )
    actual = loss_and_gradient(
        lambda v: noise_contrastive_loss(
            v, bank, index, N - 1, T, math.log(z), chunk_size=chunk_size
        ),
        anchors,
    )
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def memory(**changes):
    settings = dict(embed_dims=D, num_negatives=K, num_samples=N, form='exact')
    return ContrastMemory(**{**settings, **changes})


def embeddings(seed):
    torch.manual_seed(seed)
    return F.normalize(torch.randn(B, D), dim=1), F.normalize(torch.randn(B, D), dim=1)


def test_rows_move_by_momentum_and_a_repeated_index_moves_once_towards_the_mean():
    bank = memory(momentum=0.7)
    before = bank.teacher_bank.clone()
    student, teacher = embeddings(1)
    bank(student, teacher, torch.tensor([2, 5, 5, 1, 0]))
    expected = before.clone()
    for row, source in {2: teacher[0], 5: (teacher[1] + teacher[2]) / 2, 1: teacher[3]}.items():
        expected[row] = F.normalize(0.7 * before[row] + 0.3 * source, dim=0)
    expected[0] = F.normalize(0.7 * before[0] + 0.3 * teacher[4], dim=0)
    torch.testing.assert_close(bank.teacher_bank, expected)
    assert not torch.equal(bank.student_bank, bank.teacher_bank)


def test_banks_stay_still_in_eval_mode():
    bank = memory().eval()
    before = bank.student_bank.clone()
    bank(*embeddings(2), torch.arange(B))
    assert torch.equal(bank.student_bank, before)


def test_a_non_finite_sample_gives_no_loss_and_leaves_its_row():
    bank, twin = memory(form='marginal'), memory(form='marginal')
    student, teacher = embeddings(3)
    before = bank.teacher_bank.clone()
    student[1, 0] = float('inf')
    loss = bank(student, teacher, torch.arange(B))
    keep = torch.tensor([0, 2, 3, 4])
    torch.testing.assert_close(loss, twin(student[keep], teacher[keep], keep))
    assert torch.equal(bank.teacher_bank[1], before[1])
    assert bank.teacher_bank.isfinite().all() and bank.student_bank.isfinite().all()
    assert bank.num_skipped == 1
    torch.testing.assert_close(bank.teacher_bank, twin.teacher_bank)


def test_drawn_negatives_are_never_the_own_row():
    """With two rows, every negative of row 0 is row 1: drawing is the expectation, exactly."""
    student, teacher = (part[:1] for part in embeddings(6))
    losses = []
    for form in ('exact', 'marginal'):
        bank = memory(num_negatives=50, num_samples=2, form=form)
        losses.append(bank(student, teacher, torch.tensor([0])))
    torch.testing.assert_close(*losses)


def test_index_outside_the_data_set_is_an_error_that_names_its_length():
    with pytest.raises(IndexError, match=f'outside the data set of {N} samples'):
        memory()(*embeddings(4), torch.tensor([0, 1, 2, 3, N]))


def test_a_memory_without_a_size_says_what_to_add():
    with pytest.raises(RuntimeError, match='DistillHook'):
        memory(num_samples=None)(*embeddings(5), torch.arange(B))


def test_banks_of_a_checkpoint_size_an_empty_memory_and_refuse_another_data_set():
    stored = memory().state_dict()
    fresh = memory(num_samples=None)
    fresh.load_state_dict(stored)
    assert torch.equal(fresh.student_bank, stored['student_bank'])
    with pytest.raises(ValueError, match=f'have {N} rows, the data set has 7'):
        fresh.resize(7)


def test_with_current_positives_an_anchor_agrees_with_the_other_side_of_this_step():
    bank = memory(form='marginal', positive='current', temperature=T).double()
    student, teacher = (part.double().requires_grad_() for part in embeddings(7))
    index = torch.tensor([3, 1, 0, 8, 9])
    z = N * math.exp(1 / (2 * D * T**2))
    expected = 0.0
    for b in range(B):
        others = torch.tensor([n for n in range(N) if n != index[b]])
        for anchor, positive, rows in (
            (student[b], teacher[b], bank.teacher_bank),
            (teacher[b], student[b], bank.student_bank),
        ):
            rows = torch.cat([positive.detach()[None], rows[others]])
            out = torch.exp(rows @ anchor / T) / z
            c = K / N
            cost = torch.log(c / (out[1:] + c + 1e-7)).mean() * K
            expected = expected - (torch.log(out[0] / (out[0] + c + 1e-7)) + cost) / B
    expected_grads = torch.autograd.grad(expected, (student, teacher))
    actual = bank(student, teacher, index)
    grads = torch.autograd.grad(actual, (student, teacher))
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grads, expected_grads, rtol=1e-12, atol=1e-12)


def test_cells_have_rows_of_their_own():
    from mmengine.registry import MODELS

    torch.manual_seed(0)
    loss = MODELS.build(
        dict(
            type='CRDLoss',
            student_channels=3,
            teacher_channels=2,
            embed_dims=D,
            granularity=dict(type='cell', grid=(2, 3)),
            memory=dict(num_samples=4, num_negatives=7),
        )
    )
    assert loss.memory.teacher_bank.shape == (24, D)
    before = loss.memory.teacher_bank.clone()
    student, teacher = torch.randn(2, 3, 4, 6, requires_grad=True), torch.randn(2, 2, 8, 6)
    loss(student, teacher, sample_idx=torch.tensor([3, 1])).backward()
    moved = (loss.memory.teacher_bank != before).any(1)
    assert moved.nonzero().flatten().tolist() == [*range(6, 12), *range(18, 24)]
    embedding = loss.teacher_projector(teacher[:1, :, 4:8, 2:4])  # cell (1, 1) of the first map
    expected = F.normalize(0.5 * before[18 + 4] + 0.5 * embedding[0], dim=0)
    torch.testing.assert_close(loss.memory.teacher_bank[18 + 4], expected)
    with pytest.raises(IndexError, match=r'sample_idx \[1, 4\] lies outside the data set of 4'):
        loss(student, teacher, sample_idx=torch.tensor([4, 1]))
    with pytest.raises(ValueError, match="add 'sample_idx' to meta_keys"):
        loss(student, teacher)


@pytest.mark.parametrize('chunk_size', [1, 7, 100])
@pytest.mark.parametrize('weighed', [False, True])
def test_gathered_draws_are_the_counted_rows(problem, chunk_size, weighed):
    anchors, bank, _ = problem
    draws = torch.randint(N, (B, K))
    weights = torch.rand(B, K, dtype=torch.float64) if weighed else None
    counts = torch.zeros(B, N, dtype=torch.float64).scatter_add_(
        1, draws, torch.ones(B, K, dtype=torch.float64) if weights is None else weights
    )
    gathered = drawn_terms(anchors, bank, draws, 1 / T, 1.3, weights, chunk_size)
    counted = negative_terms(anchors, bank, 1 / T, 1.3, counts)
    torch.testing.assert_close(gathered.loss, counted.loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gathered.grad, counted.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('counts', [False, True])
def test_embeddings_of_any_length_give_a_finite_loss(counts):
    """As of a projector with ``normalize=False``: scores of hundreds, where exp overflows."""
    torch.manual_seed(0)
    bank = F.normalize(torch.randn(N, D), dim=1)
    anchors = 60 * F.normalize(torch.randn(B, D), dim=1)
    index = torch.tensor([0, 4, 4, 22, 7])
    weights = torch.randint(3, (B, N)).float() if counts else None

    def naive(v):
        x = v @ bank.to(v).T / T - math.log(3.7 * N) - math.log(K / N + 1e-7)
        own = x.gather(1, index[:, None])
        if counts:
            negatives = (weights * F.softplus(x)).sum(1)
        else:
            others = F.softplus(x).scatter(1, index[:, None], 0)
            negatives = others.sum(1) * K / (N - 1)
        constant = K * math.log1p(1e-7 * N / K)
        return F.softplus(-own).squeeze(1) + negatives + constant

    expected = loss_and_gradient(naive, anchors.double())
    actual = loss_and_gradient(
        lambda v: noise_contrastive_loss(v, bank, index, K, T, math.log(3.7 * N), weights), anchors
    )
    assert (anchors @ bank.T / T).max() > 200
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs.float(), rtol=1e-5, atol=1e-3)

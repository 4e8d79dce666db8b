"""Forms and options of the memory against the published formula in loops, in float64."""

import math

import pytest
import torch
from torch.nn import functional as F

from mmdistill.memory import ContrastMemory

D, B, T = 6, 5, 0.1


def memory(num_samples=23, **changes):
    settings = dict(embed_dims=D, num_negatives=12, temperature=T, num_samples=num_samples)
    return ContrastMemory(**{**settings, **changes}).double()


def embeddings(seed=0, count=B):
    torch.manual_seed(seed)
    student, teacher = (
        F.normalize(torch.randn(count, D, dtype=torch.float64), dim=1) for _ in range(2)
    )
    return student.requires_grad_(), teacher.requires_grad_()


def published(bank, student, teacher, index, weights, log_mean=None):
    """The formula with probabilities. ``weights[b]`` is a list of (row of the data set, weight)."""
    n, k = bank.num_rows, bank.num_negatives
    means = log_mean or [1 / (2 * D * T**2)] * 2
    c = k / n
    total = 0.0
    for b in range(len(index)):
        for anchor, rows, mean in (
            (student[b], bank.teacher_bank, means[0]),
            (teacher[b], bank.student_bank, means[1]),
        ):
            z = n * math.exp(mean)
            positive = torch.exp(anchor @ rows[index[b]] / T) / z
            total = total - torch.log(positive / (positive + c + 1e-7)) / len(index)
            for row, weight in weights[b]:
                out = torch.exp(anchor @ rows[row] / T) / z
                total = total - weight * torch.log(c / (out + c + 1e-7)) / len(index)
    return total


def assert_same(bank, student, teacher, index, weights, tolerance=1e-12, **arguments):
    expected = published(bank, student, teacher, index, weights)
    expected_grads = torch.autograd.grad(expected, (student, teacher))
    torch.manual_seed(11)
    actual = bank(student, teacher, index, **arguments)
    grads = torch.autograd.grad(actual, (student, teacher))
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(grads, expected_grads, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(('num_samples', 'chunk_size'), [(23, 7), (23, 100), (500, 100)])
def test_given_draws_equal_the_published_loss_by_either_way(num_samples, chunk_size):
    """Many rows a draw are gathered, few are read out of the scores of all rows."""
    bank = memory(num_samples, chunk_size=chunk_size)
    index = torch.tensor([0, 3, 3, 22, 7])
    draws = torch.randint(1, num_samples, (B, 12))
    draws = torch.where(draws == index[:, None], (draws + 1) % num_samples, draws)
    draws = torch.where(draws == index[:, None], (draws + 1) % num_samples, draws)
    weights = [[(int(row), 1.0) for row in draws[b]] for b in range(B)]
    assert_same(bank, *embeddings(), index, weights, negatives=draws)


def test_shared_negatives_are_drawn_once_and_skip_the_own_row():
    bank = memory(form='shared', num_samples=9)
    index = torch.tensor([0, 3, 3, 8, 7])
    torch.manual_seed(11)
    draws = torch.randint(9, (12,)).tolist()
    assert set(draws) & set(index.tolist())
    weights = []
    for own in index.tolist():
        kept = [row for row in draws if row != own]
        weights.append([(row, 12 / len(kept)) for row in kept])
    assert_same(bank, *embeddings(), index, weights)


@pytest.mark.parametrize('form', ['marginal', 'exact', 'gathered', 'shared'])
def test_rows_of_the_same_class_are_left_out(form):
    n = 500 if form == 'gathered' else 23
    bank = memory(n, form='exact' if form == 'gathered' else form, exclude_same_class=True)
    classes = torch.arange(n) % 3
    classes[15:] = -1  # rows 15 to 19 are visited without a class, rows from 20 on never
    for start in range(0, 20, B):
        seen = torch.arange(start, start + B)
        bank(*embeddings(start), seen, labels=classes[seen])
    known = [label if label >= 0 else None for label in classes.tolist()]
    index, student_teacher = torch.tensor([0, 4, 4, 19, 21]), embeddings(50)
    labels = torch.tensor([0, 1, 1, 1, -1])
    torch.manual_seed(11)
    if form == 'shared':
        draws = torch.randint(n, (12,)).expand(B, -1)
    else:
        draws = torch.randint(n - 1, (B, 12))
        draws = draws + (draws >= index[:, None])
    weights = []
    for b in range(B):
        rows = range(n) if form == 'marginal' else draws[b].tolist()
        kept = [
            row for row in rows if row != index[b] and (labels[b] < 0 or known[row] != labels[b])
        ]
        weights.append([(row, 12 / len(kept)) for row in kept])
    assert_same(bank, *student_teacher, index, weights, labels=labels)
    with pytest.raises(ValueError, match='needs the class of each sample'):
        bank(*student_teacher, index)


def observed_log_mean(anchors, rows):
    return math.log(float(torch.exp(anchors.detach() @ rows.T / T).mean()))


def test_the_normaliser_can_be_of_the_first_batch():
    index = torch.arange(B)
    weights = [[(row, 12 / 22) for row in range(23) if row != b] for b in range(B)]
    bank, mean = memory(normaliser='first_batch'), None
    for step in range(3):
        student, teacher = embeddings(step)
        mean = mean or [
            observed_log_mean(student, bank.teacher_bank),
            observed_log_mean(teacher, bank.student_bank),
        ]
        expected = published(bank, student, teacher, index, weights, log_mean=mean)
        torch.testing.assert_close(bank(student, teacher, index), expected)


def test_a_batch_that_is_not_finite_never_sets_the_normaliser():
    bank, twin = memory(normaliser='first_batch'), memory(normaliser='first_batch')
    bad = torch.full((B, D), math.inf, dtype=torch.float64)
    assert bank(bad, bad, torch.arange(B)) == 0
    for step in range(3):
        student, teacher = embeddings(step)
        loss = bank(student, teacher, torch.arange(B))
        torch.testing.assert_close(loss, twin(student, teacher, torch.arange(B)))
    before = bank.state_dict()['student_log_mean'].clone()
    bank(bad, bad, torch.arange(B))
    assert torch.equal(bank.student_log_mean, before)


def test_one_infinite_feature_poisons_no_later_batch():
    bank = memory()
    for step in range(50):
        student, teacher = (part.detach() for part in embeddings(step))
        if step == 10:
            student[2, 1] = math.inf
        assert bank(student, teacher, torch.arange(B)).isfinite()
    assert bank.num_skipped == 1 and bank.student_bank.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('form', ['marginal', 'exact', 'shared'])
def test_half_precision_embeddings_modules_and_autocast_are_safe(dtype, form):
    settings = dict(embed_dims=D, num_negatives=12, num_samples=23, form=form)
    student, teacher = embeddings()
    losses = []
    for case in ('full', 'inputs', 'module', 'autocast'):
        bank = ContrastMemory(**settings)
        bank = bank.to(dtype) if case == 'module' else bank
        kind = torch.float32 if case in ('full', 'autocast') else dtype
        leaf = student.detach().to(kind).requires_grad_()
        torch.manual_seed(0)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=case == 'autocast'):
            loss = bank(leaf, teacher.detach().to(kind), torch.arange(B))
        loss.backward()
        assert leaf.grad.isfinite().all() and bank.student_bank.isfinite().all()
        losses.append(float(loss))
    assert losses == pytest.approx([losses[0]] * 4, rel=0.05)


def test_bfloat16_banks_give_nearly_the_same_loss_at_half_the_size():
    student, teacher = (part.detach().float() for part in embeddings())
    losses = []
    for dtype in ('float32', 'bfloat16'):
        bank = ContrastMemory(
            embed_dims=D, num_negatives=12, num_samples=23, temperature=T, bank_dtype=dtype
        )
        for _ in range(4):
            loss = bank(student, teacher, torch.arange(B))
        losses.append(float(loss))
    assert bank.teacher_bank.dtype is torch.bfloat16
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_low_temperature_does_not_overflow():
    bank = memory(temperature=0.005)
    student, teacher = (part.detach().float().requires_grad_() for part in embeddings())
    bank = bank.float()
    bank.teacher_bank[7] = student[0].detach()
    loss = bank(student, teacher, torch.arange(B))
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()


def test_unknown_words_and_bad_numbers_are_errors():
    for changes in (
        dict(form='alias'),
        dict(positive='none'),
        dict(normaliser='batch'),
        dict(bank_dtype='int8'),
        dict(temperature=0),
    ):
        with pytest.raises(ValueError, match=r'is one of|need temperature'):
            memory(**changes)

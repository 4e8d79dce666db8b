"""Class queues against loops over objects and rows."""

import math

import pytest
import torch
from torch.nn import functional as F

from mmdistill.memory import QueueMemory

C, D, L, K, T = 3, 6, 4, 10, 0.1


def memory(**changes):
    settings = dict(
        num_classes=C, embed_dims=D, queue_length=L, num_negatives=K, temperature=T, momentum=0.7
    )
    return QueueMemory(**{**settings, **changes}).double()


def objects(count, seed=0):
    torch.manual_seed(seed)
    student, teacher = (
        F.normalize(torch.randn(count, D, dtype=torch.float64), dim=1) for _ in range(2)
    )
    return student.requires_grad_(), teacher.requires_grad_()


class NaiveQueues:
    """Lists of (row, embedding of the student, of the teacher, instance) for each class."""

    def __init__(self):
        self.rows = [[None] * L for _ in range(C)]
        self.next = [0] * C

    def put(self, student, teacher, label, instance=-1):
        slot = instance % L if instance >= 0 else self.next[label] % L
        if instance < 0:
            self.next[label] += 1
        old = self.rows[label][slot]
        student, teacher = student.detach(), teacher.detach()
        if old is not None and instance >= 0 and old[2] == instance:
            student = F.normalize(0.7 * old[0] + 0.3 * student, dim=0)
            teacher = F.normalize(0.7 * old[1] + 0.3 * teacher, dim=0)
        self.rows[label][slot] = (student, teacher, instance)
        return slot

    def loss(self, student, teacher, labels, own_slots, instances, negatives, balance=True):
        """The published loss of each object, with probabilities, summed by class means."""
        z = C * L * math.exp(1 / (2 * D * T**2))
        c = K / (C * L)
        by_class = {}
        for i, label in enumerate(labels):
            total = 0.0
            for side, (anchor, positive) in enumerate(
                ((student[i], teacher[i]), (teacher[i], student[i]))
            ):
                rows = []
                for other in range(C):
                    for slot in range(L):
                        row = self.rows[other][slot]
                        is_own = other == label and slot == own_slots[i]
                        if row is None or is_own or (instances[i] >= 0 and row[2] == instances[i]):
                            continue
                        if negatives == 'all' or other != label:
                            rows.append(row[1 - side])
                out = torch.exp(anchor @ positive.detach() / T) / z
                total = total - torch.log(out / (out + c + 1e-7))
                for row in rows:
                    out = torch.exp(anchor @ row / T) / z
                    total = total - K / len(rows) * torch.log(c / (out + c + 1e-7))
                if not rows:
                    total = total + K * math.log((c + 1e-7) / c)
            by_class.setdefault(label if balance else 0, []).append(total)
        return sum(sum(values) / len(values) for values in by_class.values()) / len(by_class)


@pytest.mark.parametrize('negatives', ['other_classes', 'all'])
@pytest.mark.parametrize('balance', [True, False])
def test_loss_and_gradients_are_the_published_formula_over_the_queues(negatives, balance):
    bank, naive = memory(negatives=negatives, balance=balance), NaiveQueues()
    for seed, labels in enumerate([[0, 2, 2, 0, 2], [1], [0, 0, 1], [2, 1, 0, 2]]):
        student, teacher = objects(len(labels), seed)
        own = [naive.put(student[i], teacher[i], label) for i, label in enumerate(labels)]
        instances = [-1] * len(labels)
        expected = naive.loss(student, teacher, labels, own, instances, negatives, balance)
        expected_grads = torch.autograd.grad(expected, (student, teacher))
        actual = bank(student, teacher, torch.tensor(labels))
        grads = torch.autograd.grad(actual, (student, teacher))
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
        for grad, expected_grad in zip(grads, expected_grads, strict=True):
            torch.testing.assert_close(grad, expected_grad, rtol=1e-10, atol=1e-10)


def test_instances_keep_their_rows_and_are_no_negatives_of_themselves():
    bank, naive = memory(negatives='all'), NaiveQueues()
    for seed, (labels, instances) in enumerate(
        [([0, 1, 0], [2, 3, -1]), ([0, 1, 1], [2, 6, 3]), ([1, 0], [7, 2])]
    ):
        student, teacher = objects(len(labels), seed)
        own = [
            naive.put(student[i], teacher[i], label, instances[i]) for i, label in enumerate(labels)
        ]
        expected = naive.loss(student, teacher, labels, own, instances, 'all')
        actual = bank(student, teacher, torch.tensor(labels), torch.tensor(instances))
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_a_queue_holds_the_newest_objects_of_its_class():
    bank = memory()
    student, teacher = objects(2 * L + 3)
    bank(student, teacher, torch.ones(2 * L + 3, dtype=torch.long))
    rows = bank.teacher_bank.view(C, L, D)
    newest = {tuple(row.tolist()) for row in teacher[-L:].detach()}
    assert {tuple(row.tolist()) for row in rows[1]} == newest
    assert not rows[0].any() and not rows[2].any()
    assert bank.filled.view(C, L).all(1).tolist() == [False, True, False]


def test_a_batch_without_objects_gives_a_zero_with_a_gradient():
    bank = memory()
    bank(*objects(4), torch.tensor([0, 1, 1, 2]))
    before = bank.state_dict()
    feature = torch.randn(0, D, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(D, D, dtype=torch.float64, requires_grad=True)
    loss = bank(F.normalize(feature @ weight, dim=1), feature.detach(), torch.zeros(0).long())
    loss.backward()
    assert loss == 0 and weight.grad.abs().sum() == 0
    assert all(torch.equal(value, before[key]) for key, value in bank.state_dict().items())


def test_objects_that_are_not_finite_or_of_no_class_take_no_part():
    bank, twin = memory(), memory()
    student, teacher = (part.detach() for part in objects(5))
    bad = student.clone()
    bad[1, 2] = float('nan')
    keep = torch.tensor([0, 2, 3])
    labels = torch.tensor([0, 1, 2, 1, -1])
    torch.testing.assert_close(
        bank(bad, teacher, labels), twin(student[keep], teacher[keep], labels[keep])
    )
    assert bank.num_skipped == 1 and twin.num_skipped == 0
    torch.testing.assert_close(bank.student_bank, twin.student_bank)


def test_banks_stay_still_in_eval_mode_and_continue_from_a_checkpoint():
    bank = memory()
    bank(*objects(5), torch.tensor([0, 1, 1, 2, 0]))
    restored = memory()
    restored.load_state_dict(bank.state_dict())
    student, teacher = objects(3, seed=7)
    labels = torch.tensor([2, 0, 1])
    bank(student, teacher, labels), restored(student, teacher, labels)
    assert all(torch.equal(v, restored.state_dict()[k]) for k, v in bank.state_dict().items())
    before = {key: value.clone() for key, value in bank.state_dict().items()}
    bank.eval()(student, teacher, labels)
    assert all(torch.equal(v, before[k]) for k, v in bank.state_dict().items())


def test_a_label_beyond_the_classes_is_an_error():
    with pytest.raises(ValueError, match='label 3 is none of num_classes=3'):
        memory()(*objects(2), torch.tensor([0, 3]))

"""Logit losses against formulas written out in loops, on vectors, queries and dense maps."""

import pytest
import torch
from mmengine.registry import MODELS

import mmdistill  # noqa: F401  (registers)

EVERY = [
    dict(type='KDLoss'),
    dict(type='KDLoss', activation='sigmoid', temperature=2.0),
    dict(type='LogitStandardKDLoss'),
    dict(type='LogitStandardKDLoss', activation='sigmoid', temperature=0.7),
    dict(type='DKDLoss'),
    dict(type='DKDLoss', alpha=2.0, beta=0.5, temperature=1.0),
    dict(type='DISTLoss'),
    dict(type='DISTLoss', activation='sigmoid', beta=0.5, gamma=2.0, temperature=3.0),
]
SHAPES = dict(vectors=(5, 4), queries=(2, 4, 3), maps=(2, 4, 2, 3))


def name(config):
    return '-'.join(str(value) for value in config.values())


@pytest.fixture(params=SHAPES)
def logits(request):
    """Logits of student and teacher and a mask, in float64."""
    torch.manual_seed(0)
    shape = SHAPES[request.param]
    student = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    teacher = 3 * torch.randn(shape, dtype=torch.float64)
    mask = torch.rand(student[:, 0].shape, dtype=torch.float64)
    mask[0] = 0
    return student, teacher, mask[:, None] if request.param == 'maps' else mask


def rows(tensor):
    """``(B, C, ...)`` to a list of the logits of each sample and position."""
    classes = tensor.shape[1]
    return list(tensor.movedim(1, -1).reshape(-1, classes))


def probabilities(z, temperature, activation):
    e = [torch.exp(x / temperature) for x in z]
    if activation == 'softmax':
        return [x / sum(e) for x in e]
    return [x / (1 + x) for x in e]


def naive_kd(student, teacher, weight, temperature=4.0, activation='softmax'):
    loss = 0.0
    for s, t, w in zip(student, teacher, weight, strict=True):
        q, p = (probabilities(z, temperature, activation) for z in (s, t))
        for a, b in zip(p, q, strict=True):
            each = a * torch.log(a / b)
            if activation == 'sigmoid':
                each = each + (1 - a) * torch.log((1 - a) / (1 - b))
            loss = loss + w * temperature**2 * each
    return loss / sum(weight)


def naive_standard_kd(student, teacher, weight, temperature=2.0, activation='softmax'):
    def standardise(z):
        mean = sum(z) / len(z)
        variance = sum((x - mean) ** 2 for x in z) / len(z)
        return torch.stack([(x - mean) / torch.sqrt(variance + 1e-6) for x in z])

    student, teacher = ([standardise(z) for z in side] for side in (student, teacher))
    return naive_kd(student, teacher, weight, temperature, activation)


def naive_dkd(student, teacher, weight, alpha=1.0, beta=8.0, temperature=4.0, labels=None):
    loss = 0.0
    for i, (s, t, w) in enumerate(zip(student, teacher, weight, strict=True)):
        target = int(t.argmax()) if labels is None else int(labels[i])
        q, p = (probabilities(z, temperature, 'softmax') for z in (s, t))
        a, b = p[target], q[target]
        binary = a * torch.log(a / b) + (1 - a) * torch.log((1 - a) / (1 - b))
        rest = 0.0
        for c in range(len(p)):
            if c != target:
                x, y = p[c] / (1 - a), q[c] / (1 - b)
                rest = rest + x * torch.log(x / y)
        loss = loss + w * temperature**2 * (alpha * binary + beta * rest)
    return loss / sum(weight)


def naive_dist(
    student, teacher, weight, beta=1.0, gamma=1.0, temperature=1.0, activation='softmax'
):
    q, p = (
        [probabilities(z, temperature, activation) for z in side] for side in (student, teacher)
    )

    def correlation(x, y, w):
        total = sum(w)

        def mean(values):
            return sum(v * u for v, u in zip(values, w, strict=True)) / total

        x, y = [v - mean(x) for v in x], [v - mean(y) for v in y]
        squares = mean([v * v for v in x]) * mean([v * v for v in y])
        return mean([u * v for u, v in zip(x, y, strict=True)]) / torch.sqrt(squares)

    classes = len(q[0])
    between = sum(
        w * (1 - correlation(a, b, [1] * classes)) for a, b, w in zip(q, p, weight, strict=True)
    ) / sum(weight)
    within = sum(
        1 - correlation([a[c] for a in q], [b[c] for b in p], weight) for c in range(classes)
    )
    return temperature**2 * (beta * between + gamma * within / classes)


NAIVE = dict(
    KDLoss=naive_kd,
    LogitStandardKDLoss=naive_standard_kd,
    DKDLoss=naive_dkd,
    DISTLoss=naive_dist,
)


def assert_equal_with_gradients(loss, expected, student):
    (expected_grad,) = torch.autograd.grad(expected, student)
    (grad,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize('masked', [False, True], ids=['plain', 'masked'])
@pytest.mark.parametrize('config', EVERY, ids=name)
def test_a_logit_loss_is_the_formula_with_its_gradient(logits, config, masked):
    student, teacher, mask = logits
    settings = {key: value for key, value in config.items() if key != 'type'}
    weight = mask.flatten() if masked else torch.ones(mask.numel(), dtype=torch.float64)
    expected = NAIVE[config['type']](rows(student), rows(teacher), weight, **settings)
    actual = MODELS.build(config)(student, teacher, mask=mask if masked else None)
    assert_equal_with_gradients(actual, expected, student)


@pytest.mark.parametrize('config', EVERY, ids=name)
def test_no_logits_at_all_cost_nothing(config):
    student = torch.zeros(0, 4, requires_grad=True)
    value = MODELS.build(config)(student, torch.zeros(0, 4))
    value.backward()
    assert value == 0 and student.grad.shape == (0, 4)


def test_decoupled_kd_takes_labels(logits):
    student, teacher, _ = logits
    labels = torch.randint(0, 4, student[:, 0].shape)
    weight = torch.ones(labels.numel(), dtype=torch.float64)
    expected = naive_dkd(rows(student), rows(teacher), weight, labels=labels.flatten())
    actual = MODELS.build(dict(type='DKDLoss'))(student, teacher, labels=labels)
    assert_equal_with_gradients(actual, expected, student)
    with pytest.raises(ValueError, match="logits' shape without its axis 1"):
        MODELS.build(dict(type='DKDLoss'))(student, teacher, labels=labels[:1])


def test_decoupled_kd_is_kd_where_the_rest_weighs_what_the_teacher_leaves_it():
    """The paper's identity: KD = TCKD + (1 - p_y) NCKD; one position, so beta can be a number."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 1, 6, dtype=torch.float64)
    rest = 1 - (teacher / 4).softmax(1).max()
    decoupled = MODELS.build(dict(type='DKDLoss', beta=float(rest)))
    torch.testing.assert_close(
        decoupled(student, teacher), MODELS.build(dict(type='KDLoss'))(student, teacher)
    )


def test_standardised_logits_ignore_shift_and_scale(logits):
    student, teacher, _ = logits
    loss = MODELS.build(dict(type='LogitStandardKDLoss', eps=0.0))
    torch.testing.assert_close(loss(5 * student + 3, teacher), loss(student, teacher))


@pytest.mark.parametrize('config', EVERY, ids=name)
def test_equal_logits_cost_nothing_and_the_weight_is_a_factor(logits, config):
    student, teacher, mask = logits
    one, three = (MODELS.build(dict(config, loss_weight=weight)) for weight in (1.0, 3.0))
    assert one(student, student, mask=mask).abs() < 1e-12
    value = one(student, teacher, mask=mask)
    assert value > 1e-4
    torch.testing.assert_close(three(student, teacher, mask=mask), 3 * value)


@pytest.mark.parametrize('config', EVERY, ids=name)
def test_the_teacher_gets_no_gradient(logits, config):
    student, teacher, _ = logits
    MODELS.build(config)(student, teacher.requires_grad_()).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


@pytest.mark.parametrize('config', EVERY, ids=name)
@pytest.mark.parametrize('case', ['zeros', 'constant', 'extreme', 'no weight'])
def test_degenerate_logits_give_finite_losses_and_gradients(config, case):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 4, 6, 5)
    mask = torch.ones(2, 1, 6, 5)
    if case == 'zeros':
        student, teacher = torch.zeros_like(student), torch.zeros_like(teacher)
    elif case == 'constant':
        student, teacher = student * 0 - 2.19, teacher * 0 - 2.19
    elif case == 'extreme':
        student, teacher = 1e4 * student, 1e4 * teacher
    else:
        mask = torch.zeros_like(mask)
    student.requires_grad_()
    value = MODELS.build(config)(student, teacher, mask=mask)
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all()
    if case == 'no weight':
        assert value == 0


@pytest.mark.parametrize('config', EVERY, ids=name)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_change_the_loss_by_rounding_only(config, dtype):
    torch.manual_seed(0)
    student, teacher = (5 * torch.randn(2, 2, 4, 60, 50)).to(dtype)
    student.requires_grad_()
    loss = MODELS.build(config)
    expected = loss(student.double(), teacher.double())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32 and student.grad.isfinite().all()
    torch.testing.assert_close(value.double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('config', EVERY, ids=name)
def test_other_shapes_are_refused(logits, config):
    student, teacher, _ = logits
    loss = MODELS.build(config)
    with pytest.raises(ValueError, match='tuple of 3'):
        loss(logits, teacher)
    with pytest.raises(ValueError, match='the student is .*the teacher'):
        loss(student[:, :3], teacher)
    with pytest.raises(ValueError, match='the mask is'):
        loss(student, teacher, mask=torch.ones(2, 1, 9, 9))


@pytest.mark.parametrize('type_', ['LogitStandardKDLoss', 'DKDLoss', 'DISTLoss'])
def test_one_class_is_refused_where_classes_are_compared(type_):
    one = torch.ones(2, 1, 3, 3)
    with pytest.raises(ValueError, match=r"2 or more classes.*activation='sigmoid'"):
        MODELS.build(dict(type=type_))(one, one)
    assert MODELS.build(dict(type='KDLoss', activation='sigmoid'))(one, one) == 0


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='KDLoss', temperature=0), 'must be positive, got 0'),
        (dict(type='KDLoss', activation='relu'), "not 'relu'"),
        (dict(type='DISTLoss', activation='none'), "not 'none'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)

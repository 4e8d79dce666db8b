"""Relational, Gram and distribution losses against formulas written out in loops."""

import itertools
import math

import pytest
import torch
from mmengine.registry import MODELS

import mmdistill  # noqa: F401  (registers)
from mmdistill.losses.items import take_items

RELATIONAL = [
    dict(type='RKDLoss'),
    dict(type='RKDLoss', angle_weight=0),
    dict(type='SPLoss'),
    dict(type='PKTLoss'),
    dict(type='CCLoss'),
    dict(type='CCLoss', order=None),
    dict(type='CCLoss', kernel='bilinear'),
]
SAME_CHANNELS = [
    dict(type='MMDLoss', kernel='linear'),
    dict(type='MMDLoss', kernel='linear', normalize=False),
    dict(type='MMDLoss', kernel='polynomial', degree=3, offset=0.5),
    dict(type='MMDLoss', kernel='rbf'),
    dict(type='MMDLoss', kernel='rbf', bandwidth=0.7),
    dict(type='MMDLoss', kernel='rbf', bandwidth=[0.2, 0.7, 2.0]),
]
GRAM = [
    dict(type='ICKDLoss'),
    dict(type='ICKDLoss', grid=(2, 3)),
    dict(type='ICKDLoss', normalize=False),
    dict(type='ICKDLoss', normalize=False, grid=(3, 2)),
]
EVERY = RELATIONAL + SAME_CHANNELS + GRAM


def on_small_maps(config):
    """A config whose grid of items is no finer than the fixture's maps."""
    return config if config in GRAM else dict(config, items=(3, 2))


def name(config):
    return '-'.join(str(value) for value in config.values())


@pytest.fixture
def maps():
    """A student's and a teacher's map and a mask with an empty corner; not square, float64."""
    torch.manual_seed(0)
    student = torch.randn(3, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, 6, 5, dtype=torch.float64)
    mask = torch.rand(3, 1, 6, 5, dtype=torch.float64)
    mask[0, :, :3, :3] = 0
    return student, teacher, mask


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def length(a):
    return torch.sqrt(dot(a, a))


def huber(difference):
    size = abs(difference)
    return 0.5 * size**2 if size < 1 else size - 0.5


def naive_rkd(student, teacher, weight, distance_weight=1, angle_weight=2):
    groups, count = weight.shape
    pairs = [(g, i, j) for g in range(groups) for i in range(count) for j in range(count) if i != j]
    total = sum(weight[g, i] * weight[g, j] for g, i, j in pairs)

    def distances(f):
        d = {(g, i, j): length(f[g, i] - f[g, j]) for g, i, j in pairs}
        mean = sum(weight[g, i] * weight[g, j] * d[g, i, j] for g, i, j in pairs) / total
        return {pair: value / mean for pair, value in d.items()}

    one, other = distances(student), distances(teacher)
    loss = 0.0
    for g, i, j in pairs:
        w = weight[g, i] * weight[g, j]
        loss = loss + distance_weight * w * huber(one[g, i, j] - other[g, i, j]) / total
    if not angle_weight:
        return loss

    def angle(f, i, j, k):
        a, b = f[i] - f[j], f[k] - f[j]
        return dot(a, b) / length(a) / length(b)

    angles, total = 0.0, 0.0
    for g, i, j in pairs:
        for k in range(count):
            w = weight[g, i] * weight[g, j] * weight[g, k]
            if k not in (i, j) and w > 0:
                difference = angle(student[g], i, j, k) - angle(teacher[g], i, j, k)
                angles, total = angles + w * huber(difference), total + w
    return loss + angle_weight * angles / total


def naive_sp(student, teacher, weight):
    def rows(f, w):
        gram = [[dot(a, b) for b in f] for a in f]
        return [
            [x / torch.sqrt(sum(v * y**2 for v, y in zip(w, row, strict=True))) for x in row]
            for row in gram
        ]

    loss, total = 0.0, 0.0
    for s, t, w in zip(student, teacher, weight, strict=True):
        one, other = rows(s[w > 0], w[w > 0]), rows(t[w > 0], w[w > 0])
        w = w[w > 0]
        for i in range(len(w)):
            for j in range(len(w)):
                loss = loss + w[i] * w[j] * (one[i][j] - other[i][j]) ** 2
                total = total + w[i] * w[j]
    return loss / total


def naive_pkt(student, teacher, weight):
    def choice(f, w, i, j):
        def kernel(a, b):
            return (1 + dot(a, b) / length(a) / length(b)) / 2 + 1e-6

        return kernel(f[i], f[j]) / sum(w[k] * kernel(f[i], f[k]) for k in range(len(w)) if k != i)

    loss = 0.0
    for s, t, w in zip(student, teacher, weight, strict=True):
        s, t, w = s[w > 0], t[w > 0], w[w > 0]
        for i in range(len(w)):
            for j in range(len(w)):
                if i != j:
                    p, q = choice(t, w, i, j), choice(s, w, i, j)
                    loss = loss + w[i] * w[j] * p * torch.log(p / q)
    return loss / weight.sum()


def naive_cc(student, teacher, weight, kernel='rbf', order=2, gamma=0.4):
    def correlation(a, b):
        a, b = a / length(a), b / length(b)
        if kernel == 'bilinear':
            return dot(a, b)
        if order is None:
            return torch.exp(-gamma * dot(a - b, a - b))
        terms = [(2 * gamma) ** p / math.factorial(p) * dot(a, b) ** p for p in range(order + 1)]
        return math.exp(-2 * gamma) * sum(terms)

    loss, total = 0.0, 0.0
    for s, t, w in zip(student, teacher, weight, strict=True):
        s, t, w = s[w > 0], t[w > 0], w[w > 0]
        for i in range(len(w)):
            for j in range(len(w)):
                difference = correlation(s[i], s[j]) - correlation(t[i], t[j])
                loss, total = loss + w[i] * w[j] * difference**2, total + w[i] * w[j]
    return loss / total


def naive_mmd(student, teacher, weight, kernel, degree=2, offset=0, bandwidth=None, normalize=True):
    if isinstance(bandwidth, list):
        each = [naive_mmd(student, teacher, weight, kernel, bandwidth=one) for one in bandwidth]
        return sum(each) / len(each)
    loss = 0.0
    for s, t, w in zip(student, teacher, weight, strict=True):
        s, t, w = s[w > 0], t[w > 0], w[w > 0] / w.sum()
        if normalize:
            s, t = (torch.stack([row / length(row) for row in f]) for f in (s, t))
        both = [(i, j) for i in range(len(w)) for j in range(len(w))]
        with torch.no_grad():
            variance = sum(w[i] * w[j] * dot(s[i] - t[j], s[i] - t[j]) for i, j in both)
        if bandwidth is not None:
            variance = bandwidth**2

        def k(a, b, variance=variance):
            if kernel == 'linear':
                return dot(a, b)
            if kernel == 'polynomial':
                return (dot(a, b) + offset) ** degree
            return torch.exp(-dot(a - b, a - b) / (2 * variance))

        for i, j in both:
            terms = k(s[i], s[j]) + k(t[i], t[j]) - 2 * k(s[i], t[j])
            loss = loss + w[i] * w[j] * terms / len(weight)
    return loss


def naive_ickd(student, teacher, mask, grid=(1, 1), normalize=True):
    batch, channels, height, width = student.shape
    tall, wide = math.ceil(height / grid[0]), math.ceil(width / grid[1])

    def rows(f, m):
        gram = [[(f[c] * f[d] * m).sum() for d in range(channels)] for c in range(channels)]
        if normalize:
            return [[x / torch.sqrt(sum(y**2 for y in row)) for x in row] for row in gram]
        return [[x / m.sum() for x in row] for row in gram]

    loss, total = 0.0, 0.0
    for b in range(batch):
        for r in range(grid[0]):
            for c in range(grid[1]):
                cell = (slice(r * tall, (r + 1) * tall), slice(c * wide, (c + 1) * wide))
                m = mask[(b, 0, *cell)]
                if m.sum() > 0:
                    one, other = (rows(f[(b, slice(None), *cell)], m) for f in (student, teacher))
                    for i in range(channels):
                        for j in range(channels):
                            square = (one[i][j] - other[i][j]) ** 2
                            divisor = channels if normalize else channels**2
                            loss = loss + m.sum() * square / divisor
                    total = total + m.sum()
    return loss / total


NAIVE = dict(RKDLoss=naive_rkd, SPLoss=naive_sp, PKTLoss=naive_pkt, CCLoss=naive_cc)
NAIVE.update(MMDLoss=naive_mmd)


def assert_equal_with_gradients(loss, expected, student):
    (expected_grad,) = torch.autograd.grad(expected, student)
    (grad,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize('items', [(2, 3), 'scene', 30], ids=str)
@pytest.mark.parametrize('masked', [False, True], ids=['plain', 'masked'])
@pytest.mark.parametrize('config', RELATIONAL + SAME_CHANNELS, ids=name)
def test_a_loss_over_items_is_the_formula_with_its_gradient(maps, config, masked, items):
    """All positions are drawn where positions are items: the order does not matter."""
    student, teacher, mask = maps
    if config in SAME_CHANNELS:
        teacher = teacher[:, :3]
    if items == 30:  # few enough for loops over triples
        student, teacher, mask = student[..., 2:, :2], teacher[..., 2:, :2], mask[..., 2:, :2]
        items = 8
    mask = mask if masked else None
    settings = {key: value for key, value in config.items() if key != 'type'}
    expected = NAIVE[config['type']](*take_items(student, teacher, items, mask), **settings)
    actual = MODELS.build(dict(config, items=items))(student, teacher, mask=mask)
    assert_equal_with_gradients(actual, expected, maps[0])


@pytest.mark.parametrize('masked', [False, True], ids=['plain', 'masked'])
@pytest.mark.parametrize('config', GRAM, ids=name)
def test_channel_correlation_is_the_formula_with_its_gradient(maps, config, masked):
    student, teacher, mask = maps
    teacher = teacher[:, :3]
    settings = {key: value for key, value in config.items() if key != 'type'}
    weights = mask if masked else torch.ones_like(mask)
    expected = naive_ickd(student, teacher, weights, **settings)
    actual = MODELS.build(config)(student, teacher, mask=mask if masked else None)
    assert_equal_with_gradients(actual, expected, student)


@pytest.mark.parametrize('config', RELATIONAL, ids=name)
def test_matrices_give_the_papers_relations_of_a_batch(config):
    torch.manual_seed(1)
    student = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(5, 7, dtype=torch.float64)
    settings = {key: value for key, value in config.items() if key != 'type'}
    one = torch.ones(1, 5, dtype=torch.float64)
    expected = NAIVE[config['type']](student[None], teacher[None], one, **settings)
    assert_equal_with_gradients(MODELS.build(config)(student, teacher), expected, student)


@pytest.mark.parametrize('side', [0, 1], ids=['student', 'teacher'])
def test_angles_at_items_that_coincide_are_left_out(side):
    torch.manual_seed(1)
    features = list(torch.randn(2, 4, 3, dtype=torch.float64))
    features[side][1] = features[side][0]
    student, teacher = features[0].requires_grad_(), features[1]
    expected, count = 0.0, 0
    for i, j, k in itertools.permutations(range(4), 3):
        if {i, j} != {0, 1} and {k, j} != {0, 1}:
            angles = []
            for f in (student, teacher):
                a, b = f[i] - f[j], f[k] - f[j]
                angles.append(dot(a, b) / length(a) / length(b))
            expected, count = expected + huber(angles[0] - angles[1]), count + 1
    loss = MODELS.build(dict(type='RKDLoss', distance_weight=0, angle_weight=1))
    assert_equal_with_gradients(loss(student, teacher), expected / count, student)


@pytest.mark.parametrize('config', EVERY, ids=name)
def test_equal_features_cost_nothing_and_the_weight_is_a_factor(maps, config):
    student, teacher, mask = maps
    teacher = teacher[:, :3]
    config = on_small_maps(config)
    one, three = (MODELS.build(dict(config, loss_weight=weight)) for weight in (1.0, 3.0))
    assert one(student, student, mask=mask).abs() < 1e-12
    value = one(student, teacher, mask=mask)
    assert value > 1e-6
    torch.testing.assert_close(three(student, teacher, mask=mask), 3 * value)


@pytest.mark.parametrize('config', EVERY, ids=name)
def test_the_teacher_gets_no_gradient(maps, config):
    student, teacher = maps[0], maps[1][:, :3].requires_grad_()
    MODELS.build(on_small_maps(config))(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


@pytest.mark.parametrize('config', EVERY, ids=name)
@pytest.mark.parametrize('case', ['zeros', 'constant', 'half empty', 'dead channel', 'no weight'])
def test_degenerate_maps_give_finite_losses_and_small_gradients(config, case):
    torch.manual_seed(0)
    student, teacher = torch.rand(2, 3, 8, 12), torch.rand(2, 3, 8, 12)
    mask = torch.ones(2, 1, 8, 12)
    if case == 'zeros':
        student, teacher = torch.zeros_like(student), torch.zeros_like(teacher)
    elif case == 'constant':
        student, teacher = torch.ones_like(student), torch.ones_like(teacher)
    elif case == 'half empty':
        student[..., 6:] = teacher[..., 6:] = 0
    elif case == 'dead channel':
        student[:, 1] = teacher[:, 0] = 0
    else:
        mask = torch.zeros_like(mask)
    student.requires_grad_()
    loss = MODELS.build(dict(config, **(dict() if config in GRAM else dict(items=(4, 6)))))
    value = loss(student, teacher, mask=mask)
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all()
    assert student.grad.abs().max() < 10
    if case == 'no weight':
        assert value == 0


@pytest.mark.parametrize('config', EVERY, ids=name)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_change_the_loss_by_rounding_only(config, dtype):
    torch.manual_seed(0)
    student = 30 * torch.rand(2, 3, 40, 60)
    teacher = 30 * torch.rand(2, 3, 40, 60)
    student, teacher = student.to(dtype).requires_grad_(), teacher.to(dtype)
    loss = MODELS.build(dict(config, **(dict() if config in GRAM else dict(items=(4, 6)))))
    expected = loss(student.double(), teacher.double())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32 and student.grad.isfinite().all()
    torch.testing.assert_close(value.double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('config', EVERY, ids=name)
def test_a_tuple_or_another_size_is_refused(maps, config):
    loss = MODELS.build(config)
    with pytest.raises(ValueError, match='tuple of 3'):
        loss(maps, maps[1])
    with pytest.raises(ValueError, match=r'\(3, 3, 6, 4\).*\(3, 4, 6, 5\)'):
        loss(maps[0][..., :4], maps[1])


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='SPLoss', items='cells'), r"not 'cells'; for example items=\(8, 8\)"),
        (dict(type='RKDLoss', items=(8, 0)), r'not \(8, 0\)'),
        (dict(type='PKTLoss', items=0), 'not 0'),
        (dict(type='CCLoss', kernel='linear'), "'rbf' or 'bilinear', not 'linear'"),
        (dict(type='MMDLoss', kernel='cosine'), "not 'cosine'"),
        (dict(type='MMDLoss', degree=0), 'degree is 1 or more, not 0'),
        (dict(type='MMDLoss', bandwidth=0), 'above 0, or None, not 0'),
        (dict(type='MMDLoss', bandwidth=[0.5, -1]), 'above 0, or None, not -1'),
        (dict(type='MMDLoss', bandwidth=[]), 'lists no length'),
        (dict(type='ICKDLoss', grid=(0, 1)), r'not \(0, 1\)'),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)

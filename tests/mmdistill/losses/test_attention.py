"""Attention losses against formulas written out in loops."""

import pytest
import torch
from mmengine.registry import MODELS

from tests.mmdistill.losses.compare import assert_same, positions


def naive_attention(student, teacher, mask, p, mode):
    total = 0.0
    for s, t, m in zip(student, teacher, mask, strict=True):
        weights = [m[0, h, w] for _, h, w in positions(s[None])]
        maps = []
        for feature in (s, t):
            values = [
                sum(abs(feature[c, h, w]) ** p for c in range(len(feature)))
                for _, h, w in positions(feature[None])
            ]
            squares = zip(weights, values, strict=True)
            length = torch.sqrt(sum(weight * v**2 for weight, v in squares))
            maps.append([v / length for v in values])
        squares = sum(weight * (a - b) ** 2 for weight, a, b in zip(weights, *maps, strict=True))
        divisor = len(maps[0]) if mode == 'mean' else 1
        total = total + (torch.sqrt(squares) if mode == 'norm' else squares / divisor)
    return total / len(student)


@pytest.mark.parametrize('mode', ['sum', 'mean', 'norm'])
@pytest.mark.parametrize('p', [1, 2, 3])
def test_attention_transfer_is_the_formula_with_its_gradient(maps, weights, p, mode):
    loss = MODELS.build(dict(type='AttentionTransferLoss', p=p, mode=mode, loss_weight=3.0))
    ones = torch.ones_like(weights)
    assert_same(loss(*maps), 3 * naive_attention(*maps, ones, p, mode), maps[0])
    expected = 3 * naive_attention(*maps, weights, p, mode)
    assert_same(loss(*maps, mask=weights), expected, maps[0])


@pytest.mark.parametrize('mode', ['sum', 'mean', 'norm'])
def test_attention_transfer_is_finite_for_empty_maps_and_equal_maps(mode):
    loss = MODELS.build(dict(type='AttentionTransferLoss', mode=mode))
    for value in (0.0, 1.0):
        student = torch.full((1, 2, 3, 3), value, requires_grad=True)
        result = loss(student, torch.full((1, 4, 3, 3), value))
        result.backward()
        assert result < 1e-5 and student.grad.isfinite().all()


def test_attention_transfer_names_both_shapes(maps):
    loss = MODELS.build(dict(type='AttentionTransferLoss'))
    with pytest.raises(ValueError, match=r'\(2, 3, 4, 5\), the teacher \(2, 6, 4, 4\)'):
        loss(maps[0], maps[1][..., :4])


def naive_discrepancy(student, teacher, mask, make_kernel):
    """Maximum mean discrepancy of channels, pair by pair."""
    total = 0.0
    for s, t, m in zip(student, teacher, mask, strict=True):
        points = []
        for feature in (s, t):
            rows = [torch.sqrt(m[0]) * channel for channel in feature]
            points.append([(row / torch.sqrt((row**2).sum())).flatten() for row in rows])
        kernel = make_kernel(*points)

        def mean(one, other, kernel=kernel):
            return sum(kernel(x, y) for x in one for y in other) / (len(one) * len(other))

        own, others, mixed = (mean(points[i], points[j]) for i, j in ((0, 0), (1, 1), (0, 1)))
        total = total + own + others - 2 * mixed
    return total / len(student)


def make_linear(xs, ys):
    return lambda x, y: (x * y).sum()


def make_polynomial(xs, ys):
    return lambda x, y: ((x * y).sum() + 0.5) ** 3


def make_rbf(xs, ys):
    distances = [float(((x - y) ** 2).sum()) for x in xs for y in ys]
    variance = sum(distances) / len(distances)
    return lambda x, y: torch.exp(-((x - y) ** 2).sum() / (2 * variance))


@pytest.mark.filterwarnings('ignore:Converting a tensor with requires_grad=True to a scalar')
@pytest.mark.parametrize(
    ('config', 'make_kernel'),
    [
        (dict(kernel='linear'), make_linear),
        (dict(kernel='polynomial', degree=3, offset=0.5), make_polynomial),
        (dict(kernel='rbf'), make_rbf),
    ],
)
def test_nst_is_the_discrepancy_of_channel_patterns(maps, weights, config, make_kernel):
    loss = MODELS.build(dict(type='NSTLoss', loss_weight=2.0, **config))
    ones = torch.ones_like(weights)
    assert_same(loss(*maps), 2 * naive_discrepancy(*maps, ones, make_kernel), maps[0])
    expected = 2 * naive_discrepancy(*maps, weights, make_kernel)
    assert_same(loss(*maps, mask=weights), expected, maps[0])


@pytest.mark.parametrize('kernel', ['linear', 'polynomial', 'rbf'])
def test_nst_heeds_neither_order_nor_scale_of_the_channels(maps, kernel):
    loss = MODELS.build(dict(type='NSTLoss', kernel=kernel))
    shuffled = maps[1].flip(1) * torch.arange(1, 7)[:, None, None]
    torch.testing.assert_close(loss(maps[0], shuffled), loss(*maps))
    assert loss(shuffled, maps[1]).abs() < 1e-12
    assert loss(*maps) > 0


def test_nst_builds_no_matrix_of_positions():
    """180 x 180 positions: their Gram matrix would take 4 GB."""
    torch.manual_seed(0)
    student = torch.randn(1, 2, 180, 180, requires_grad=True)
    seen = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            seen.extend(r.numel() for r in [result] if isinstance(r, torch.Tensor))
            return result

    with Sizes():
        MODELS.build(dict(type='NSTLoss'))(student, torch.randn(1, 4, 180, 180)).backward()
    assert max(seen) <= 4 * 180 * 180


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='AttentionTransferLoss', mode='l2'), "'sum', 'mean' or 'norm', not 'l2'"),
        (dict(type='AttentionTransferLoss', p=0.5), 'p is 1 or more, not 0.5'),
        (dict(type='NSTLoss', kernel='cosine'), "'rbf'.*, not 'cosine'"),
        (dict(type='NSTLoss', degree=0), 'degree is 1 or more'),
    ],
)
def test_arguments_that_make_no_sense_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)

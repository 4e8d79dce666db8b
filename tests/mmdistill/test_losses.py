"""Losses and connectors against formulas written out in loops."""

import math
import re

import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

from mmdistill import WeightSchedule


@pytest.fixture
def maps():
    """A student's and a teacher's map, not square, in float64."""
    torch.manual_seed(0)
    student = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    return student, torch.randn(2, 6, 4, 5, dtype=torch.float64)


def naive_attention(student, teacher, p, mode):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        maps = []
        for feature in (s, t):
            values = [
                sum(abs(feature[c, h, w]) ** p for c in range(len(feature)))
                for h in range(feature.shape[1])
                for w in range(feature.shape[2])
            ]
            length = torch.sqrt(sum(v**2 for v in values))
            maps.append([v / length for v in values])
        squares = sum((a - b) ** 2 for a, b in zip(*maps, strict=True))
        divisor = len(maps[0]) if mode == 'mean' else 1
        total = total + (torch.sqrt(squares) if mode == 'norm' else squares / divisor)
    return total / len(student)


@pytest.mark.parametrize('mode', ['sum', 'mean', 'norm'])
@pytest.mark.parametrize('p', [1, 2])
def test_attention_transfer_is_the_formula_with_its_gradient(maps, p, mode):
    student, teacher = maps
    loss = MODELS.build(dict(type='AttentionTransferLoss', p=p, mode=mode, loss_weight=3.0))
    expected = 3 * naive_attention(student, teacher, p, mode)
    (expected_grad,) = torch.autograd.grad(expected, student)
    actual = loss(student, teacher)
    (grad,) = torch.autograd.grad(actual, student)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(grad, expected_grad)


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


def test_fitnet_is_the_mean_square_and_leaves_the_teacher_alone(maps):
    student, teacher = maps[0], maps[1][:, :3].requires_grad_()
    result = MODELS.build(dict(type='FitNetLoss', loss_weight=0.5))(student, teacher)
    torch.testing.assert_close(result, 0.5 * ((student - teacher) ** 2).sum() / student.numel())
    result.backward()
    assert teacher.grad is None


def test_a_tuple_needs_a_selector(maps):
    with pytest.raises(ValueError, match=r'a tuple of 2: add a selector'):
        MODELS.build(dict(type='FitNetLoss'))(maps, maps[1])


def test_a_mismatch_names_the_connectors_that_mend_it(maps):
    loss = MODELS.build(dict(type='FitNetLoss'))
    with pytest.raises(ValueError) as error:
        loss(maps[0][..., :4], maps[1])
    for part in ('(2, 3, 4, 4)', '(2, 6, 4, 5)'):
        assert part in str(error.value)
    connectors = re.findall(r'_connector=(dict\(.*?\)\)?)(?: and|$)', str(error.value))
    student, teacher = (MODELS.build(eval(config)) for config in connectors)
    assert loss(student.double()(maps[0][..., :4]), teacher(maps[1])).isfinite()


@pytest.mark.parametrize('mode', ['bilinear', 'nearest', 'adaptive'])
def test_resizing_keeps_what_is_constant_and_where_it_lies(mode):
    resize = MODELS.build(dict(type='ResizeConnector', size=(4, 10), mode=mode))
    feature = torch.zeros(1, 1, 8, 20)
    feature[..., 10:] = 3
    expected = torch.zeros(1, 1, 4, 10)
    expected[..., 5:] = 3
    torch.testing.assert_close(resize(feature), expected)
    with pytest.raises(ValueError, match='expected a map'):
        resize(torch.ones(2, 3))


def test_transposing_swaps_the_axes_of_a_map():
    feature = torch.randn(2, 3, 4, 5)
    transposed = MODELS.build(dict(type='TransposeConnector'))(feature)
    assert torch.equal(transposed[1, 2, 4, 3], feature[1, 2, 3, 4])
    assert transposed.shape == (2, 3, 5, 4)


def contrastive(**settings):
    torch.manual_seed(1)
    config = dict(type='ContrastiveLoss', student_channels=3, teacher_channels=6, embed_dims=4)
    return MODELS.build({**config, **settings}).double()


def test_contrastive_loss_is_the_mean_of_both_cross_entropies(maps):
    loss = contrastive(temperature=0.2, projector=dict(normalize=False))
    student, teacher = (
        projector(feature.mean((2, 3)))
        for projector, feature in zip(
            (loss.student_projector, loss.teacher_projector), maps, strict=True
        )
    )
    expected = 0.0
    for one, other in ((student, teacher), (teacher, student)):
        for i in range(2):
            scores = [math.exp(float(one[i] @ other[j]) / 0.2) for j in range(2)]
            expected -= math.log(scores[i] / sum(scores)) / 4
    assert float(loss(*maps)) == pytest.approx(expected, rel=1e-12)


def test_a_grid_contrasts_cells_of_the_map(maps):
    """A grid as fine as the map has one embedding a position; equal projections agree best."""
    loss = contrastive(grid=(4, 5))
    assert float(loss(*maps)) > 0
    same = contrastive(grid=(4, 5), teacher_channels=3)
    same.teacher_projector.load_state_dict(same.student_projector.state_dict())
    assert same(maps[0], maps[0].detach()) < same(maps[0], maps[0].detach().flip(3))
    with pytest.raises(ValueError, match=r'a grid needs maps'):
        loss(torch.ones(2, 3), torch.ones(2, 6))


@pytest.mark.parametrize('pool', ['avg', 'max', 'avg+max'])
@pytest.mark.parametrize('hidden', [None, 7])
def test_projector_gives_unit_embeddings_of_maps_sequences_and_vectors(pool, hidden):
    projector = MODELS.build(
        dict(type='MLPProjector', in_channels=3, out_channels=5, pool=pool, hidden_channels=hidden)
    )
    feature = torch.randn(2, 3, 4, 6)
    embedding = projector(feature)
    assert embedding.shape == (2, 5)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(projector(feature.flatten(2)), embedding)
    assert projector(feature[..., 0, 0]).shape == (2, 5)


def test_connectors_check_their_channels():
    for config in (
        dict(type='MLPProjector', in_channels=3),
        dict(type='ConvConnector', in_channels=3, out_channels=5),
    ):
        connector = MODELS.build(config)
        with pytest.raises(ValueError, match=r'\(B, 3, ...\).*\(2, 4, 5, 5\)'):
            connector(torch.ones(2, 4, 5, 5))
        with pytest.raises(ValueError, match=r'a tuple of 1: add a selector'):
            connector((torch.ones(2, 3, 5, 5),))


@pytest.mark.parametrize('norm', [True, False])
def test_conv_connector_keeps_the_size(norm):
    config = dict(type='ConvConnector', in_channels=3, out_channels=5, kernel_size=3, norm=norm)
    assert MODELS.build(config)(torch.ones(2, 3, 4, 6)).shape == (2, 5, 4, 6)
    with pytest.raises(ValueError, match='kernel_size must be odd'):
        MODELS.build({**config, 'kernel_size': 2})


@pytest.mark.parametrize(
    ('schedule', 'expected'),
    [
        (dict(), [1, 1, 1, 1, 1]),
        (dict(begin=1, end=3), [0, 1, 1, 0, 0]),
        (dict(kind='linear', begin=1, end=3), [0, 0, 0.5, 1, 1]),
        (dict(kind='cosine', end=4, start=1, stop=0), [1, 0.853553, 0.5, 0.146447, 0]),
    ],
)
def test_schedules_count_epochs_or_iterations(schedule, expected):
    by_epoch = WeightSchedule(**schedule)
    by_iteration = WeightSchedule(**schedule, by_epoch=False)
    for now, factor in enumerate(expected):
        assert by_epoch.factor(now, 99) == pytest.approx(factor, abs=1e-6)
        assert by_iteration.factor(99, now) == pytest.approx(factor, abs=1e-6)


@pytest.mark.parametrize(
    ('schedule', 'message'),
    [
        (dict(kind='linear'), 'needs `end`'),
        (dict(kind='poly'), 'constant, linear or cosine'),
        (dict(begin=3, end=3), 'must lie after begin'),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        WeightSchedule(**schedule)


def test_crd_reads_sparse_tensors():
    spconv = pytest.importorskip('spconv.pytorch')
    torch.manual_seed(0)
    features = torch.randn(5, 3)
    indices = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 1], [1, 2, 0, 0]])
    sparse = spconv.SparseConvTensor(features, indices.int(), [3, 2, 2], batch_size=2)
    projector = MODELS.build(dict(type='MLPProjector', in_channels=3, pool='avg+max'))
    rows = [features[:2], features[2:]]
    pooled = torch.stack([torch.cat([r.mean(0), r.max(0).values]) for r in rows])
    expected = F.normalize(projector.layers(pooled), dim=1)
    torch.testing.assert_close(projector(sparse), expected)
    half = sparse.replace_feature(features.half())
    torch.testing.assert_close(projector(half), expected, rtol=0, atol=1e-2)


def test_pooling_does_not_overflow_in_half_precision():
    projector = MODELS.build(dict(type='MLPProjector', in_channels=1))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert projector(torch.full((1, 1, 300, 300), 6e4).half()).isfinite().all()

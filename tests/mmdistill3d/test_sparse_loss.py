"""Features of sparse voxels, joined by their coordinates."""

import mmcv.ops
import pytest
import torch
from mmengine.registry import MODELS
from spconv.pytorch import SparseConvTensor

from mmdistill import record_layers
from mmdistill.connectors import SparseLinearConnector
from mmdistill.reading import build_recorder
from mmdistill3d.losses import SparseFeatureLoss

SHAPE = (6, 4, 5)


def sparse(shape, count, channels=3, batch=2, seed=0, **options):
    """A sparse tensor of ``count`` voxels at random cells, in random order."""
    draws = torch.Generator().manual_seed(seed)
    cells = torch.stack(
        torch.meshgrid(*(torch.arange(size) for size in (batch, *shape)), indexing='ij'), dim=-1
    ).flatten(0, -2)
    chosen = cells[torch.randperm(len(cells), generator=draws)[:count]]
    features = torch.randn(count, channels, generator=draws, dtype=torch.double)
    return SparseConvTensor(features.requires_grad_(), chosen.int(), list(shape), batch)


def naive(student, teacher, factor, finer, distance='mse', unmatched='ignore', reduce='mean'):
    """The loss by dictionaries: factor (x, y, z) by which the finer side is finer."""

    def coarse(index, side):
        if side != finer:
            return tuple(index)
        return (index[0], *(i // f for i, f in zip(index[1:], factor, strict=True)))

    cells = {}
    for index, feature in zip(teacher.indices.tolist(), teacher.features.detach(), strict=True):
        cells.setdefault(coarse(index, 'teacher'), []).append(feature)
    values = {}
    for key, features in cells.items():
        stacked = torch.stack(features)
        values[key] = stacked.mean(0) if reduce == 'mean' else stacked.max(0).values
    terms, met = [], set()
    zero = torch.zeros(student.features.shape[1], dtype=torch.double)
    for index, feature in zip(student.indices.tolist(), student.features, strict=True):
        key = coarse(index, 'student')
        if key in values:
            terms.append(feature - values[key])
            met.add(key)
        elif unmatched == 'zero':
            terms.append(feature - zero)
    if unmatched == 'zero':
        terms += [values[key] - zero for key in values if key not in met]
    if not terms:
        return student.features.sum() * 0
    differences = torch.stack(terms)
    return (differences.abs() if distance == 'l1' else differences**2).mean()


CASES = {
    'the same grid': (SHAPE, SHAPE, (1, 1, 1), None),
    'a finer teacher': (SHAPE, (12, 8, 9), (2, 2, 2), 'teacher'),
    'a finer student': ((11, 8, 10), SHAPE, (2, 2, 2), 'student'),
    'a teacher finer along z': ((6, 4, 3), (6, 4, 9), (1, 1, 3), 'teacher'),
    'a teacher whose z lost its rest': ((12, 8, 4), (24, 16, 10), (2, 2, 2), 'teacher'),
}


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('unmatched', ['ignore', 'zero'])
@pytest.mark.parametrize(('distance', 'reduce'), [('mse', 'mean'), ('l1', 'max')])
def test_it_equals_a_loop_over_the_voxels(case, unmatched, distance, reduce):
    own_shape, teacher_shape, factor, finer = CASES[case]
    student, teacher = sparse(own_shape, 60), sparse(teacher_shape, 90, seed=1)
    options = dict(distance=distance, unmatched=unmatched, reduce=reduce)
    value = SparseFeatureLoss(loss_weight=3.0, **options)(student, teacher)
    expected = 3.0 * naive(student, teacher, factor, finer, **options)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14)
    got, own = (torch.autograd.grad(loss, student.features)[0] for loss in (value, expected))
    torch.testing.assert_close(got, own, rtol=1e-12, atol=1e-14)
    assert got.abs().sum() > 0


def test_counting_the_other_side_as_zero_is_the_dense_loss_over_the_active_cells():
    student, teacher = sparse(SHAPE, 50), sparse(SHAPE, 70, seed=1)
    value = SparseFeatureLoss(unmatched='zero')(student, teacher)
    dense = []
    for tensor in (student, teacher):
        volume = torch.zeros(2, *SHAPE, 3, dtype=torch.double)
        volume[tuple(tensor.indices.long().T)] = tensor.features.detach()
        dense.append(volume)
    active = sum((volume != 0).any(-1).int() for volume in dense) > 0
    torch.testing.assert_close(value, (dense[0] - dense[1]).square()[active].mean())


@pytest.mark.parametrize('case', CASES)
def test_the_order_of_the_voxels_does_not_matter(case):
    student, teacher = sparse(CASES[case][0], 60), sparse(CASES[case][1], 90, seed=1)
    loss = SparseFeatureLoss(unmatched='zero')
    shuffled = []
    for tensor in (student, teacher):
        order = torch.randperm(len(tensor.indices), generator=torch.Generator().manual_seed(5))
        shuffled.append(
            SparseConvTensor(tensor.features[order], tensor.indices[order], tensor.spatial_shape, 2)
        )
    torch.testing.assert_close(loss(*shuffled), loss(student, teacher), rtol=1e-12, atol=0)


@pytest.mark.parametrize('unmatched', ['ignore', 'zero'])
@pytest.mark.parametrize(('mine', 'theirs'), [(0, 0), (0, 5), (5, 0)])
def test_no_voxels_on_a_side_is_a_loss_with_gradients(unmatched, mine, theirs):
    student, teacher = sparse(SHAPE, mine), sparse(SHAPE, theirs, seed=1)
    value = SparseFeatureLoss(unmatched=unmatched)(student, teacher)
    torch.testing.assert_close(value, naive(student, teacher, (1, 1, 1), None, unmatched=unmatched))
    value.backward()
    assert student.features.grad.isfinite().all() and teacher.features.grad is None


def test_voxels_that_meet_nowhere_are_a_zero_with_gradients():
    student, teacher = sparse(SHAPE, 8), sparse(SHAPE, 8)
    teacher.indices[:, 0] = 2  # samples that the student has not
    value = SparseFeatureLoss()(student, teacher)
    value.backward()
    assert value == 0 and student.features.grad.eq(0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_voxels_are_computed_in_float32(dtype):
    student, teacher = sparse(SHAPE, 50), sparse(SHAPE, 50, seed=1)
    half = [
        tensor.replace_feature((300 * tensor.features.detach()).to(dtype).requires_grad_())
        for tensor in (student, teacher)
    ]
    value = SparseFeatureLoss()(*half)
    exact = SparseFeatureLoss()(*(t.replace_feature(t.features.float()) for t in half))
    assert value.dtype == torch.float32 and value.isfinite()
    torch.testing.assert_close(value, exact)
    value.backward()
    assert half[0].features.grad.isfinite().all()


@pytest.mark.parametrize(
    ('student', 'teacher', 'message'),
    [
        (torch.zeros(2, 3, 4, 4), sparse(SHAPE, 5), r'expected sparse tensors, got Tensor'),
        (
            sparse(SHAPE, 5),
            sparse(SHAPE, 5, channels=4),
            '3 channels, the teacher 4; .*SparseLinearConnector',
        ),
        (sparse((10, 10, 4), 5), sparse((8, 8, 4), 5), 'no whole factor joins them'),
        (sparse((6, 4), 5), sparse(SHAPE, 5), r'\(6, 4\) cells, the teacher \(6, 4, 5\)'),
    ],
)
def test_what_does_not_fit_is_an_error(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        SparseFeatureLoss()(student, teacher)


@pytest.mark.parametrize('name', ['distance', 'unmatched', 'reduce'])
def test_options_that_do_not_exist_are_errors(name):
    with pytest.raises(ValueError, match=f"{name} is one of .*, not 'other'"):
        SparseFeatureLoss(**{name: 'other'})


def test_the_connector_maps_the_voxels_channels_and_leaves_them_in_place():
    feature = sparse(SHAPE, 20)
    connector = SparseLinearConnector(3, 5).double()
    mapped = connector(feature)
    assert torch.equal(mapped.indices, feature.indices) and mapped.batch_size == 2
    expected = feature.features @ connector.linear.weight.T + connector.linear.bias
    torch.testing.assert_close(mapped.features, expected)
    mapped.features.sum().backward()
    assert connector.linear.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match='voxels of 4 channels as in_channels says, got 3'):
        SparseLinearConnector(4, 5)(feature)
    with pytest.raises(ValueError, match='expected a sparse tensor, got Tensor'):
        connector(torch.zeros(1, 3, 2, 2))


class TestMiniPair:
    """On the stages of the sparse encoders of the mini student and teacher."""

    @pytest.fixture
    def stages(self, distill_model, batch):
        """The three stages of both encoders on one batch."""
        found = []
        for config in (distill_model['student'], distill_model['teacher'].config):
            config.pts_middle_encoder.return_middle_feats = True
            model = MODELS.build(config)
            points = batch['inputs']['points']
            features, cells, _ = model.voxelize(points)
            found.append(model.pts_middle_encoder(features, cells, len(points))[1])
        return found

    @pytest.mark.parametrize(
        ('mine', 'theirs', 'finer'),
        [(0, 0, None), (2, 2, None), (1, 0, 'teacher'), (0, 1, 'student')],
    )
    def test_stages_join_as_a_loop_over_their_voxels_does(self, stages, mine, theirs, finer):
        student, teacher = stages[0][mine], stages[1][theirs]
        connector = SparseLinearConnector(student.features.shape[1], teacher.features.shape[1])
        mapped = connector(student)
        value = SparseFeatureLoss(unmatched='zero')(mapped, teacher)
        exact = [t.replace_feature(t.features.detach().double()) for t in (mapped, teacher)]
        expected = naive(*exact, (2, 2, 2), finer, unmatched='zero')
        assert value.item() == pytest.approx(expected.item(), rel=1e-4)
        value.backward()
        assert connector.linear.weight.grad.abs().sum() > 0

    def test_stages_of_one_stride_share_all_their_voxels(self, stages):
        for student, teacher in zip(*stages, strict=True):
            mapped = SparseLinearConnector(student.features.shape[1], teacher.features.shape[1])(
                student
            )
            ignored, counted = (
                SparseFeatureLoss(unmatched=how)(mapped, teacher) for how in ('ignore', 'zero')
            )
            torch.testing.assert_close(ignored, counted)

    def test_a_batch_of_empty_clouds_trains_every_parameter(self, distill_model, batch):
        stage = 'pts_middle_encoder.encoder_layers.encoder_layer2'
        student, teacher = (
            config.pts_middle_encoder.encoder_channels[1][-1]
            for config in (distill_model['student'], distill_model['teacher'].config)
        )
        distill_model.links = dict(
            voxels=dict(
                student=stage,
                teacher=stage,
                student_connector=dict(
                    type='SparseLinearConnector', in_channels=student, out_channels=teacher
                ),
                loss=dict(type='SparseFeatureLoss'),
            )
        )
        model = MODELS.build(distill_model)
        batch['inputs']['points'] = [points[:0] for points in batch['inputs']['points']]
        losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
        assert losses['distill/voxels'] == 0
        model.parse_losses(losses)[0].backward()
        without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not without


def test_mmcvs_own_sparse_tensor_is_one_everywhere():
    """Cylinder3D's, and MMDetection3D's without spconv: connected, recorded, cloned, noticed."""

    class Overwrites(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Identity()

        def forward(self, value):
            self.layer(value).features.mul_(2)

    def own():
        like = sparse(SHAPE, 30)
        features = like.features.detach().float()
        return mmcv.ops.SparseConvTensor(features, like.indices, like.spatial_shape, 2)

    model, clone = Overwrites(), dict(layer='layer', clone=True)
    with record_layers(model, build_recorder(clone)) as values:
        model(own())
    (copied,) = values.values()
    assert torch.equal(copied.features, own().features)
    with pytest.raises(RuntimeError, match='changed in place'), record_layers(model, 'layer'):
        model(own())
    wide = SparseLinearConnector(3, 5)(own())
    assert isinstance(wide, mmcv.ops.SparseConvTensor) and wide.features.shape == (30, 5)
    assert SparseFeatureLoss()(own(), own()) == 0
    copied.features += 1
    assert SparseFeatureLoss()(own(), copied) == pytest.approx(1)

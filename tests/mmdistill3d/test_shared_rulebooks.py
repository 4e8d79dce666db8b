"""What teacher, student and links share of a step: the numbers are those of a step without."""

import contextlib
import copy

import pytest
import spconv.pytorch as spconv
import torch
from mmengine.registry import MODELS
from spconv.core import ConvAlgo
from spconv.pytorch import ops
from torch.utils.checkpoint import checkpoint

from bevfusion.sparse_ops import SparseConv3d, SubMConv3d
from mmdistill.memo import directly
from mmdistill.rulebooks import shared_rulebooks
from mmdistill3d import masks
from mmdistill3d.losses.response import heatmap

CELLS = [9, 8, 7]
CONVS = [
    lambda: SubMConv3d(3, 4, 3, indice_key='a'),
    lambda: SubMConv3d(3, 4, 3),
    lambda: SubMConv3d(3, 4, (3, 3, 1)),
    lambda: SubMConv3d(3, 4, 3, dilation=2),
    lambda: SparseConv3d(3, 4, 3, stride=2, padding=1, indice_key='a'),
    lambda: SparseConv3d(3, 4, 3, stride=2, padding=0),
    lambda: SparseConv3d(3, 4, 3, stride=1, padding=1),
    lambda: SparseConv3d(3, 4, 3, stride=(2, 2, 1), padding=1),
    lambda: SparseConv3d(3, 4, (1, 1, 3), stride=(1, 1, 2)),
    lambda: SparseConv3d(3, 4, 3, stride=1, padding=1, dilation=2),
]


@pytest.fixture
def found(monkeypatch):
    """One entry for each rulebook that spconv finds."""
    calls, own = [], ops.get_indice_pairs

    def find(*args, **kwargs):
        calls.append(args)
        return own(*args, **kwargs)

    monkeypatch.setattr(ops, 'get_indice_pairs', find)
    return calls


@pytest.fixture
def voxels():
    """Features and cells of two samples."""
    torch.manual_seed(0)
    cell = torch.randperm(2 * 9 * 8 * 7)[:200]
    cells = torch.stack([cell // 504, cell // 56 % 9, cell // 7 % 8, cell % 7], 1)
    return torch.randn(200, 3), cells.int()


def run(conv, features, cells, shape=None):
    out = conv(spconv.SparseConvTensor(features, cells, shape or CELLS, 2))
    return out.indices, out.features, out.dense()


def test_other_geometries_and_other_sites_are_never_shared(voxels, found):
    features, cells = voxels
    convs = [make() for make in CONVS]
    places = [
        (features, cells),
        (features, cells.flip(0)),  # the same cells in another order
        (features, cells.clone()),
        (features[:150], cells[:150]),
        (features, cells, [9, 8, 8]),
    ]
    alone = [run(conv, *place) for place in places for conv in convs]
    found.clear()
    with shared_rulebooks():
        for _ in range(2):
            together = [run(conv, *place) for place in places for conv in convs]
            for one, other in zip(alone, together, strict=True):
                assert all(map(torch.equal, one, other))
    assert len(found) == len(places) * (len(convs) - 1)  # two of them have one geometry
    run(convs[0], *places[0])
    run(convs[0], *places[0])
    assert len(found) == len(places) * (len(convs) - 1) + 2


def test_cells_that_somebody_moved_are_other_sites(voxels):
    features, cells = voxels
    conv = SparseConv3d(3, 4, 3, stride=2, padding=1)
    with shared_rulebooks():
        before = run(conv, features, cells)
        before[0][:, 1] = 0  # a model that writes to what it got
        assert run(conv, features, cells)[0][:, 1].any()
        cells[:, 1].clamp_(max=3)
        moved = run(conv, features, cells)
    assert all(map(torch.equal, moved, run(conv, features, cells)))


def test_an_inverse_convolution_finds_its_way_back(voxels, found):
    """It reads, and leaves, the rulebook under the name in its own tensor."""
    nets = [
        spconv.SparseSequential(
            SubMConv3d(3, width, 3, indice_key='same'),
            SparseConv3d(width, 4, 3, stride=2, padding=1, indice_key=key),
            spconv.SparseInverseConv3d(4, 2, 3, indice_key=key, algo=ConvAlgo.Native),
        )
        for width, key in ((5, 'down'), (6, 'other'))
    ]
    alone = [run(net, *voxels) for net in nets]
    assert len(found) == 4
    with shared_rulebooks():
        together = [run(net, *voxels) for net in nets]
    assert len(found) == 6
    for one, other in zip(alone, together, strict=True):
        assert all(map(torch.equal, one, other))
        assert torch.equal(other[0], voxels[1])


def test_encoders_of_mmdetection3d_share_too(found):
    """A residual block of theirs finds its rulebooks anew for each convolution."""
    encoders = [
        MODELS.build(
            dict(
                type='SparseEncoder',
                in_channels=3,
                sparse_shape=[21, 16, 16],
                base_channels=width,
                encoder_channels=((width, width), (width, width)),
                encoder_paddings=((1, 1), (1, 1)),
                block_type='basicblock',
            )
        ).eval()
        for width in (4, 8)
    ]
    for encoder in encoders:
        for layer in encoder.modules():
            if hasattr(layer, 'algo'):
                layer.algo = ConvAlgo.Native  # the one that a CPU has
    torch.manual_seed(0)
    cell = torch.randperm(16 * 16 * 21)[:300]
    cells = torch.stack([cell * 0, cell // 256, cell // 16 % 16, cell % 16], 1)
    features = torch.randn(300, 3)
    with torch.no_grad():
        alone = [encoder(features, cells.int(), 1) for encoder in encoders]
        number = len(found)
        with shared_rulebooks():
            shared = cells.int()
            together = [encoder(features, shared, 1) for encoder in encoders]
    assert all(map(torch.equal, alone, together))
    assert len(found) - number <= number / 2


@pytest.mark.parametrize('reentrant', [True, False])
def test_gradients_are_equal_also_through_a_checkpoint(voxels, reentrant):
    features, cells = voxels
    features.requires_grad_()
    net = spconv.SparseSequential(
        SubMConv3d(3, 4, 3), SparseConv3d(4, 4, 3, stride=2), SubMConv3d(4, 2, 3)
    )

    def loss(features):
        return run(net, features, cells)[1].square().sum()

    expected = torch.autograd.grad(loss(features), [features, *net.parameters()])
    with shared_rulebooks():
        with torch.no_grad():
            loss(features)  # a teacher
        value = checkpoint(loss, features, use_reentrant=reentrant)
    value.backward()  # which runs the pass again, outside of the block
    actual = [features.grad, *(p.grad for p in net.parameters())]
    assert all(map(torch.equal, actual, expected))


def same(config):
    """Teacher and student agree: the teacher's six rulebooks serve both."""


def padded(config):
    """They agree up to the second convolution of stride 2."""
    encoder = config['teacher']['config'].pts_middle_encoder
    encoder.encoder_paddings = ((0, 0, 1), (0, 0, (1, 1, 1)), (0, 0))


def other_limits(config):
    """They agree, and make voxels of their own."""
    config['teacher']['config'].data_preprocessor.voxelize_cfg.max_voxels = [29999, 39999]


def fewer_voxels(config):
    """The student drops voxels."""
    config['student'].data_preprocessor.voxelize_cfg.max_voxels = [300, 300]


LINKS = dict(
    neck=dict(
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        student_connector=dict(type='ConvConnector'),
        mask=dict(type='BoxMask', shape='gaussian', background=0.01),
        loss=dict(type='FitNetLoss'),
    ),
    attention=dict(
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        mask=dict(type='BoxMask', shape='gaussian', background=0.01),
        loss=dict(type='AttentionTransferLoss'),
    ),
    backbone=dict(  # a smaller map
        student='pts_backbone[1]',
        teacher='pts_backbone[1]',
        mask=dict(type='BoxMask', shape='gaussian', background=0.01),
        loss=dict(type='AttentionTransferLoss'),
    ),
    boxes=dict(  # another mask
        student='pts_neck[0]',
        teacher='pts_neck[0]',
        mask=dict(type='BoxMask', background=0.01),
        loss=dict(type='AttentionTransferLoss'),
    ),
    heatmap=dict(
        student='bbox_head.heatmap_head',
        teacher='bbox_head.heatmap_head',
        loss=dict(type='HeatmapKDLoss'),
    ),
    peaks=dict(
        student='bbox_head.heatmap_head',
        teacher='bbox_head.heatmap_head',
        loss=dict(type='HeatmapKDLoss', weights='gt'),
    ),
)


@pytest.mark.parametrize(
    ('change', 'rulebooks'), [(same, 6), (padded, 9), (other_limits, 12), (fewer_voxels, 12)]
)
def test_losses_and_gradients_are_those_of_a_step_that_shares_nothing(
    distill_model, batch, found, monkeypatch, change, rulebooks
):
    change(distill_model)
    distill_model['links'] = LINKS
    torch.manual_seed(0)
    distiller = MODELS.build(distill_model)
    distiller.init_weights()
    distiller.train()
    drawn = []
    for module, name in ((masks, 'cell_weights'), (heatmap, 'annotated_gaussians')):
        own = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, own=own: drawn.append(own) or own(*a))

    results = []
    for shares in (True, False):
        if not shares:
            monkeypatch.setattr('mmdistill.distiller.shared_rulebooks', contextlib.nullcontext)
            monkeypatch.setattr('mmdistill.step.Memo', lambda: directly)
        found.clear()
        drawn.clear()
        torch.manual_seed(1)  # of dropout
        model = copy.deepcopy(distiller)
        total, losses = model.parse_losses(model(**batch, mode='loss'))
        total.backward()
        assert len(found) == (rulebooks if shares else 12)
        assert len(drawn) == (4 if shares else 6)
        results.append((losses, {name: p.grad for name, p in model.named_parameters()}))
    (losses, gradients), expected = results
    for actual, wanted in zip((losses, gradients), expected, strict=True):
        assert actual.keys() == wanted.keys()
        for key, value in actual.items():
            assert (value is None and wanted[key] is None) or torch.equal(value, wanted[key]), key

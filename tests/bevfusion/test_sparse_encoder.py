import copy

import pytest
import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import nn

GRID = [16, 12, 9]


def encoder(**changes):
    cfg = dict(
        type='BEVFusionSparseEncoder',
        in_channels=3,
        sparse_shape=GRID,
        base_channels=4,
        output_channels=6,
        encoder_channels=((4, 4, 6), (6, 6)),
        encoder_paddings=((0, 0, 1), (0, 0)),
        block_type='basicblock',
    )
    torch.manual_seed(0)
    return MODELS.build({**cfg, **changes})


def voxels(number=60, batch_size=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    flat = torch.randperm(batch_size * 16 * 12 * 9, generator=generator)[:number]
    coords = torch.stack(torch.unravel_index(flat, (batch_size, *GRID)), dim=1).int()
    return torch.randn(number, 3, generator=generator), coords


def dense_reference(model, feats, coords, batch_size):
    """The encoder by dense convolutions whose outputs are masked to the active sites."""
    index = coords.long().unbind(1)
    x = torch.zeros(batch_size, *GRID, 3).index_put(index, feats).permute(0, 4, 1, 2, 3)
    mask = torch.zeros(batch_size, 1, *GRID)
    mask[index[0], 0, index[1], index[2], index[3]] = 1

    def conv(layer, x, mask):
        weight = layer.weight.permute(0, 4, 1, 2, 3)
        if layer.subm:
            return F.conv3d(x, weight, padding=1) * mask, mask
        options = dict(stride=layer.stride, padding=layer.padding)
        seen = F.conv3d(mask, torch.ones(1, 1, *layer.kernel_size), **options)
        mask = (seen > 0).float()
        return F.conv3d(x, weight, **options) * mask, mask

    def norm(layer, x, mask):
        shape = (1, -1, 1, 1, 1)
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        shift = layer.bias - layer.running_mean * scale
        return (x * scale.view(shape) + shift.view(shape)) * mask

    def block(module, x, mask):
        x, mask = conv(module[0], x, mask)
        return norm(module[1], x, mask).relu(), mask

    x, mask = block(model.conv_input, x, mask)
    for stage in model.encoder_layers:
        for module in stage:
            if hasattr(module, 'conv1'):
                y, _ = conv(module.conv1, x, mask)
                y, _ = conv(module.conv2, norm(module.bn1, y, mask).relu(), mask)
                x = (norm(module.bn2, y, mask) + x).relu()
            else:
                x, mask = block(module, x, mask)
    x, mask = block(model.conv_out, x, mask)
    return x.permute(0, 1, 4, 2, 3).flatten(1, 2)


def test_map_equals_dense_convolutions_with_channel_c_times_depth_plus_z():
    model = encoder().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    feats, coords = voxels()
    with torch.no_grad():
        bev = model(feats, coords, 2)
        expected = dense_reference(model, feats, coords, 2)
    assert bev.shape == (2, *model.out_shape)
    assert torch.allclose(bev, expected, atol=1e-5)


def test_sharing_rulebooks_changes_nothing():
    shared, separate = encoder().eval(), encoder().eval()
    for module in separate.modules():
        if getattr(module, 'subm', False):
            module.indice_key = None
    feats, coords = voxels()
    assert torch.equal(shared(feats, coords, 2), separate(feats, coords, 2))


def test_plain_blocks_build_and_run():
    model = encoder(
        block_type='conv_module',
        encoder_channels=((4,), (6, 6), (8,)),
        encoder_paddings=((1,), (1, 1), (1,)),
    )
    feats, coords = voxels()
    assert model(feats, coords, 2).shape == (2, *model.out_shape)


def test_middle_features_are_the_sparse_tensor_after_each_stage():
    feats, coords = voxels()
    _, stages = encoder(return_middle_feats=True)(feats, coords, 2)
    assert [stage.features.shape[1] for stage in stages] == [6, 6]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('number', [0, 1, 2])
def test_almost_empty_batches_pass_forward_and_backward(training, number):
    model = encoder().train(training)
    feats, coords = voxels(number)
    bev = model(feats, coords, 2)
    bev.sum().backward()
    assert bev.shape == (2, *model.out_shape)
    assert torch.isfinite(bev).all()
    assert all(p.grad is not None for p in model.parameters())


def test_stages_run_without_a_voxel():
    model = encoder(return_middle_feats=True)
    _, expected = model(*voxels(20), 2)
    _, stages = model(*voxels(0), 2)
    assert [stage.spatial_shape for stage in stages] == [s.spatial_shape for s in expected]
    for stage, own in zip(stages, expected, strict=True):
        assert stage.features.shape == (0, own.features.shape[1])
        assert stage.indices.shape == (0, 4) and stage.features.requires_grad


@pytest.mark.parametrize('layout', ['out_first', 'out_last'])
@pytest.mark.parametrize('version', [None, 1, 2])
def test_kernels_load_from_every_layout_whatever_the_version_tag(layout, version):
    source, target = encoder(), encoder()
    for parameter in source.parameters():
        nn.init.normal_(parameter)
    state = copy.deepcopy(source.state_dict())
    for key, value in state.items():
        if value.dim() == 5 and layout == 'out_last':
            state[key] = value.permute(1, 2, 3, 4, 0).contiguous()
    for metadata in state._metadata.values():
        metadata.pop('version', None)
        if version is not None:
            metadata['version'] = version
    target.load_state_dict(state)
    for key, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[key]), key


def test_kernel_of_another_shape_is_reported():
    state = encoder().state_dict()
    state['conv_input.0.weight'] = torch.zeros(7, 3, 3, 3, 3)
    with pytest.raises(RuntimeError, match=r'size mismatch for conv_input\.0\.weight'):
        encoder().load_state_dict(state)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(base_channels=8), 'residual blocks keep the channels'),
        (dict(block_type='bottleneck'), 'block_type'),
        (dict(order=('conv', 'norm')), 'order'),
        (dict(sparse_shape=[16, 12, 2]), 'fewer stages'),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        encoder(**changes)


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu_after_moving():
    model = encoder().eval()
    feats, coords = voxels()
    with torch.no_grad():
        on_cpu = model(feats, coords, 2)
        on_cuda = model.cuda()(feats.cuda(), coords.cuda(), 2)
        back = model.cpu()(feats, coords, 2)
    assert torch.allclose(on_cpu, on_cuda.cpu(), atol=1e-3)
    assert torch.equal(on_cpu, back)

"""Weights load whatever layout their sparse kernels are stored in, and a check tells if not."""

import copy

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint
from torch import nn

from bevfusion import check_encoder

# What to permute (out, kx, ky, kz, in) with to get each layout in circulation.
LAYOUTS = {
    'spconv 2.x': (0, 1, 2, 3, 4),
    'spconv 1.x and MMCV': (1, 2, 3, 4, 0),
    'spconv 2.1 native': (1, 2, 3, 0, 4),
}


def stored(state, layout, version=None):
    """A state dict as another program stores it."""
    state = copy.deepcopy(state)
    for key, value in state.items():
        if value.dim() == 5:
            state[key] = value.permute(LAYOUTS[layout]).contiguous()
    for tags in state._metadata.values():
        tags.pop('version', None)
        if version is not None:
            tags['version'] = version
    return state


def square_encoder(in_channels=4):
    """Every kernel but, if `in_channels` is not 4, the first has as many inputs as outputs."""
    encoder = MODELS.build(
        dict(
            type='BEVFusionSparseEncoder',
            in_channels=in_channels,
            sparse_shape=[16, 12, 9],
            base_channels=4,
            output_channels=4,
            encoder_channels=((4, 4), (4,)),
            encoder_paddings=((0, 1), (0,)),
            block_type='basicblock',
        )
    )
    for parameter in encoder.parameters():
        nn.init.normal_(parameter)
    return encoder


def assert_same(one, other):
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def predict(model, points, sample):
    with torch.no_grad():
        found = model.eval().predict({'points': [points]}, [copy.deepcopy(sample)])[0]
    return found.pred_instances_3d


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('way', ['load_from', 'init_cfg', 'teacher'])
def test_a_file_of_any_layout_gives_the_same_detections(
    layout, way, mini_cfg, build, cloud, sample, tmp_path
):
    cfg = mini_cfg(range_xy_m=(12.8, 12.8), proposals=10)
    source = build(cfg, seed=1)
    path = str(tmp_path / 'published.pth')
    torch.save({'state_dict': stored(source.state_dict(), layout)}, path)
    if way == 'load_from':
        model = build(cfg, seed=2)
        load_checkpoint(model, path, strict=True)
    elif way == 'init_cfg':
        model = build({**cfg, 'init_cfg': dict(type='Pretrained', checkpoint=path)}, seed=2)
    else:
        mmdistill = pytest.importorskip('mmdistill')
        teacher = mmdistill.Teacher(dict(model=cfg, default_scope='mmdet3d'), path)
        teacher.load()
        model = teacher.model
    args = cloud(400, reach_xy_m=(12, 12)), sample(0)
    expected, given = predict(source, *args), predict(model, *args)
    assert torch.allclose(given.bboxes_3d.tensor, expected.bboxes_3d.tensor, atol=1e-5)
    assert torch.allclose(given.scores_3d, expected.scores_3d, atol=1e-6)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('version', [None, 1, 2])
def test_one_kernel_of_unequal_channels_decides_for_all(layout, version):
    source, target = square_encoder(in_channels=5), square_encoder(in_channels=5)
    target.load_state_dict(stored(source.state_dict(), layout, version))
    assert_same(source, target)


@pytest.mark.parametrize(
    ('layout', 'version'),
    [
        ('spconv 2.x', None),
        ('spconv 2.x', 1),
        ('spconv 1.x and MMCV', None),
        ('spconv 1.x and MMCV', 1),
        ('spconv 2.1 native', 2),
    ],
)
def test_where_every_kernel_is_square_the_version_tag_decides(layout, version):
    source, target = square_encoder(), square_encoder()
    target.load_state_dict(stored(source.state_dict(), layout, version))
    assert_same(source, target)


def test_a_second_file_is_read_by_its_own_layout():
    source, target = square_encoder(in_channels=5), square_encoder(in_channels=5)
    for layout in ('spconv 2.1 native', 'spconv 1.x and MMCV'):
        target.load_state_dict(stored(source.state_dict(), layout))
        assert_same(source, target)


def test_a_file_that_mixes_layouts_is_read_by_shape_with_a_warning(caplog):
    source, target = square_encoder(in_channels=5), square_encoder(in_channels=5)
    state = stored(source.state_dict(), 'spconv 2.x')
    key = 'conv_input.0.weight'
    state[key] = state[key].permute(1, 2, 3, 4, 0)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    target.load_state_dict(state)
    logger.removeHandler(caplog.handler)
    assert 'several layouts' in caplog.text
    assert 'conv_input.0: (kx, ky, kz, in, out)' in caplog.text
    assert_same(source, target)


def calibrated(build, mini_cfg, clouds):
    """A detector whose batch norms know the clouds."""
    model = build(mini_cfg(range_xy_m=(25.6, 25.6)))
    norms = [m for m in model.pts_middle_encoder.modules() if isinstance(m, nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = None  # a plain average
    with torch.no_grad():
        for points in clouds:
            model.train().extract_pts_feat({'points': [points]})
    return model.eval()


def turned(points, angle):
    """The cloud, turned about z."""
    angle = torch.tensor(float(angle))
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)
    return torch.cat([points[:, :2] @ turn.T, points[:, 2:]], dim=1)


@pytest.fixture
def street(shared):
    """One real sweep."""
    import numpy as np

    path = next((shared / 'data/nuscenes').glob('*LIDAR_TOP*.bin'))
    points = torch.from_numpy(np.fromfile(path, np.float32).reshape(-1, 5))
    points[:, 4] = 0
    return points


@pytest.mark.parametrize('every', [1, 3])
def test_a_real_sweep_tells_a_wrongly_permuted_encoder_from_a_right_one(
    every, street, build, mini_cfg
):
    model = calibrated(build, mini_cfg, [turned(street, angle) for angle in (1, 2)])
    sweep = street[::every]
    right = check_encoder(model, sweep)
    for module in model.pts_middle_encoder.modules():
        if hasattr(module, 'subm') and module.weight.shape[0] == module.weight.shape[4]:
            module.weight.data = module.weight.data.transpose(0, 4).contiguous()
    before = copy.deepcopy(model.state_dict())
    wrong = check_encoder(model, sweep)
    assert right.mismatch['as loaded'] * 2 < wrong.mismatch['as loaded']
    assert right.best in ('as loaded', 'x and z swapped')
    assert right.verdict != 'wrong'
    assert wrong.verdict == 'wrong'
    assert 'in and out swapped' in str(wrong) or 'both swapped' in str(wrong)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_untrained_norms_and_clouds_elsewhere_are_refused(build, mini_cfg, cloud):
    model = build(mini_cfg(range_xy_m=(12.8, 12.8)))
    with pytest.raises(ValueError, match='initial statistics'):
        check_encoder(model, cloud(100))
    model.pts_middle_encoder.conv_input[1].running_mean += 1
    with pytest.raises(ValueError, match='no point lies within'):
        check_encoder(model, cloud(100) + 1000)

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from tests.bevfusion import recording

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/bevfusion'
STUDENTS = sorted(
    path.stem for path in CONFIGS.glob('*_student_*.py') if not path.stem.endswith('_mini')
)


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def number_of_parameters(cfg):
    return sum(p.numel() for p in MODELS.build(cfg.model).parameters())


def test_teacher_is_the_published_network():
    model = MODELS.build(load('bevfusion_lidar_teacher').model)
    assert recording.keys_of(model) == recording.keys('published')


def test_teacher_settings_are_the_published_ones():
    """Settings that shape the result, given or derived, equal those of the published config."""
    published = Config.fromfile(recording.PUBLISHED).model
    ours = load('bevfusion_lidar_teacher').model
    for part in ('pts_backbone', 'pts_neck'):
        assert ours[part] == published[part]
    for key, value in ours.pts_middle_encoder.items():
        assert published.pts_middle_encoder[key] == value, key
    head = MODELS.build(ours).bbox_head
    for name, cfg in (('train_cfg', head.train_cfg), ('test_cfg', head.test_cfg)):
        for key, value in published.bbox_head[name].items():
            if key not in ('assigner', 'voxel_size'):
                assert (
                    list(cfg[key]) == list(value)
                    if isinstance(value, list)
                    else (cfg[key] == value)
                ), (name, key)
    same = ('loss_cls', 'loss_bbox', 'loss_heatmap', 'decoder_layer', 'common_heads')
    for key in same:
        assert ours.bbox_head[key] == published.bbox_head[key], key
    for key in ('cls_cost', 'reg_cost', 'iou_cost'):
        assert (
            ours.bbox_head.train_cfg.assigner[key] == (published.bbox_head.train_cfg.assigner[key])
        )


@pytest.mark.parametrize(
    ('name', 'parameters'),
    [
        ('bevfusion_lidar_teacher', 8_306_030),
        ('bevfusion_lidar_student_s', 4_653_678),
        ('bevfusion_lidar_student_s_h64', 4_190_510),
        ('bevfusion_lidar_student_balanced', 4_157_630),
        ('bevfusion_lidar_student_xs', 3_438_938),
        ('bevfusion_lidar_student_xxs', 1_572_870),
    ],
)
def test_number_of_parameters(name, parameters):
    assert number_of_parameters(load(name)) == parameters


def test_schedule_rises_for_eight_epochs_and_falls_for_twelve():
    rate_up, rate_down, momentum_up, momentum_down = load('bevfusion_lidar_teacher').param_scheduler
    assert rate_up.type == rate_down.type == 'CosineAnnealingLR'
    assert (rate_up.begin, rate_up.end, rate_up.eta_min_ratio) == (0, 8, 10)
    assert (rate_down.begin, rate_down.end, rate_down.eta_min_ratio) == (8, 20, 1e-4)
    assert momentum_up.eta_min == pytest.approx(0.85 / 0.95)
    assert momentum_down.eta_min == 1


@pytest.mark.parametrize('ratio', [0.125, 2])
def test_a_scaled_rate_is_scaled_from_beginning_to_end(ratio):
    """As by --auto-scale-lr, which multiplies the optimizer's rate before schedulers are built."""
    rates = []
    for factor in (1, ratio):
        cfg = load('bevfusion_lidar_teacher')
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=cfg.lr * factor)
        schedule = [
            PARAM_SCHEDULERS.build({**item, 'optimizer': optimizer, 'epoch_length': 3})
            for item in cfg.param_scheduler
            if item.type == 'CosineAnnealingLR'
        ]
        rates.append([])
        for _ in range(60):
            rates[-1].append(optimizer.param_groups[0]['lr'])
            optimizer.step()
            for part in schedule:
                part.step()
    assert max(rates[0]) == pytest.approx(1e-3, rel=1e-2)
    assert rates[1] == pytest.approx([ratio * rate for rate in rates[0]], rel=1e-6)


@pytest.mark.parametrize(
    ('name', 'voxels', 'cells'),
    [
        ('bevfusion_lidar_student_s', 1440, 180),
        ('bevfusion_lidar_student_s_voxel0090', 1200, 150),
        ('bevfusion_lidar_student_s_voxel0112', 960, 120),
        ('bevfusion_lidar_student_s_voxel0135', 800, 100),
    ],
)
def test_every_size_follows_from_the_voxel_size(name, voxels, cells):
    model = MODELS.build(load(name).model)
    assert model.pts_middle_encoder.sparse_shape == [voxels, voxels, 41]
    assert model.pts_middle_encoder.out_shape[1:] == (cells, cells)
    assert model.bbox_head.grid_xy == (cells, cells)
    reach = cells * model.bbox_head.bbox_coder.out_size_factor
    assert reach * model.pts_voxel_layer.voxel_size[0] == pytest.approx(108)


def test_voxels_of_a_tenth_of_a_metre_are_refused_with_the_reason():
    cfg = load('bevfusion_lidar_student_s').model
    cfg.data_preprocessor.voxelize_cfg.voxel_size = [0.1, 0.1, 0.2]
    with pytest.raises(ValueError) as refusal:
        MODELS.build(cfg)
    message = str(refusal.value)
    assert '1080 x 1080 cells do not fit' in message
    assert '(135, 135)' in message and '136' in message  # the neck joins maps of 135 and 2 x 68
    assert '1072, 1088' in message  # what fits
    assert 'Change voxel size or range' in message


@pytest.mark.parametrize('name', STUDENTS)
def test_a_student_differs_from_the_teacher_in_its_model_only(name):
    teacher, student = load('bevfusion_lidar_teacher'), load(name)
    for key in teacher:
        if key != 'model':
            assert student[key] == teacher[key], key


def test_the_mini_student_has_at_most_half_of_the_teachers_parameters():
    sizes = []
    for name in ('teacher', 'student'):
        cfg = Config.fromfile(CONFIGS / f'bevfusion_lidar_{name}_mini.py')
        sizes.append(sum(p.numel() for p in MODELS.build(cfg.model).parameters()))
    assert sizes[1] <= sizes[0] / 2

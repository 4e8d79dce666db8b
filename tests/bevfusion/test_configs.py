from pathlib import Path

import pytest
from mmdet3d.registry import MODELS
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/bevfusion'


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def number_of_parameters(cfg):
    return sum(p.numel() for p in MODELS.build(cfg.model).parameters())


def test_teacher_is_the_published_network(shared):
    import json

    model = MODELS.build(load('bevfusion_lidar_teacher').model)
    ours = sorted([key, list(value.shape)] for key, value in model.state_dict().items())
    published = json.loads((shared / 'golden/stock/keys.json').read_text())
    assert ours == sorted([key, shape] for key, shape, _ in published)


def test_teacher_settings_are_the_published_ones(shared):
    """Settings that shape the result, given or derived, equal those of the published config."""
    published = Config.fromfile(shared / 'golden/stock/config.py').model
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
    [('bevfusion_lidar_teacher', 8_306_030), ('bevfusion_lidar_student_s', 4_653_678)],
)
def test_number_of_parameters(name, parameters):
    assert number_of_parameters(load(name)) == parameters


def test_schedule_rises_for_eight_epochs_and_falls_for_twelve():
    rate_up, rate_down, momentum_up, momentum_down = load('bevfusion_lidar_teacher').param_scheduler
    assert rate_up.type == rate_down.type == 'CosineAnnealingLR'
    assert (rate_up.begin, rate_up.end, rate_up.eta_min) == (0, 8, pytest.approx(1e-3))
    assert (rate_down.begin, rate_down.end, rate_down.eta_min) == (8, 20, pytest.approx(1e-8))
    assert momentum_up.eta_min == pytest.approx(0.85 / 0.95)
    assert momentum_down.eta_min == 1


def test_student_differs_from_the_teacher_in_widths_only():
    teacher, student = load('bevfusion_lidar_teacher'), load('bevfusion_lidar_student_s')
    for key in teacher:
        if key != 'model':
            assert student[key] == teacher[key], key


def test_the_mini_student_has_at_most_half_of_the_teachers_parameters():
    sizes = []
    for name in ('teacher', 'student'):
        cfg = Config.fromfile(CONFIGS / f'bevfusion_lidar_{name}_mini.py')
        sizes.append(sum(p.numel() for p in MODELS.build(cfg.model).parameters()))
    assert sizes[1] <= sizes[0] / 2
